"""Batch transform over the packed test images: manifest, request, answers.

Sources: API reference of CreateTransformJob and TransformS3DataSource (ManifestFile); developer guide, "Use Batch
Transform": each input object gives one object of the same name with `.out` at the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.datasets.layout import parse_s3_uri
from include.evaluation.prediction import read_probabilities
from include.sagemaker.instance_types import transform_instance_type
from include.sagemaker.naming import tags
from include.sagemaker.network import encryption

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.image_objects import PackedTestImages
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.sagemaker.naming import Run
    from include.settings import Settings

ANSWER_SUFFIX = ".out"
LONGEST_TRANSFORM = timedelta(hours=6)
"""A transform job knows no longest run of its own: after this time its task stops it."""


LARGEST_PAYLOAD = 100
"""MB that MaxPayloadInMB may be, alone and times MaxConcurrentTransforms."""
MEGABYTE = 1_000_000
READING_THREADS = 8
CONCURRENT = 4
"""Requests that a container answers at the same time, if their payloads leave room."""


class TransformError(ValueError):
    """The transform job's input or output is not what an evaluation needs."""


def transform_prefix(settings: Settings, job: str) -> str:
    """Where a transform job's manifest and answers lie, with a slash at the end."""
    return f"s3://{settings.output_bucket}/transform/{job}/"


def manifest_uri(settings: Settings, job: str) -> str:
    """Where a transform job's list of images lies."""
    return f"{transform_prefix(settings, job)}manifest.json"


def write_manifest(s3: S3Client, images: PackedTestImages, *, settings: Settings, job: str) -> str:
    """Write the ManifestFile of a transform job over the packed test images; returns the manifest's address."""
    manifest = manifest_uri(settings, job)
    bucket, key = parse_s3_uri(manifest)
    body = json.dumps([{"prefix": images.prefix}, *images.names]).encode()
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json")
    return manifest


def read_manifest(s3: S3Client, *, settings: Settings, job: str) -> list[str]:
    """The images of a transform job, as `write_manifest` listed them."""
    bucket, key = parse_s3_uri(manifest_uri(settings, job))
    head, *names = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return [f"{head['prefix']}{name}" for name in names]


def transform_request(
    name: str,
    *,
    model: str,
    manifest: str,
    largest: int,
    content_type: str,
    conf: RunConf,
    settings: Settings,
    dataset: DatasetVersion,
    run: Run,
) -> dict[str, Any]:
    """The body of CreateTransformJob: one request per image, answered by a JSON list of probabilities.

    `largest` is the size of the largest image in bytes, `content_type` that of all images. Raises TransformError for
    one that no request can hold.
    """
    payload = payload_mb(largest)
    return {
        "TransformJobName": name,
        "ModelName": model,
        "BatchStrategy": "SingleRecord",
        "MaxPayloadInMB": payload,
        "MaxConcurrentTransforms": min(CONCURRENT, LARGEST_PAYLOAD // payload),
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": manifest}},
            "ContentType": content_type,
            "CompressionType": "None",
            "SplitType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": f"{transform_prefix(settings, name)}answers",
            "Accept": "application/json",
            "AssembleWith": "None",
            **encryption(settings),
        },
        "TransformResources": {
            "InstanceType": transform_instance_type(conf.endpoint.instance_type),
            "InstanceCount": 1,
        },
        "Tags": tags(settings, run, dataset),
    }


def payload_mb(largest: int) -> int:
    """The MaxPayloadInMB that lets an image of this many bytes through.

    AWS does not say whether its MB has 1,000,000 bytes or 1,048,576: the smaller is taken. Raises TransformError above
    LARGEST_PAYLOAD.
    """
    payload = max(1, -(-largest // MEGABYTE))
    if payload > LARGEST_PAYLOAD:
        raise TransformError(
            f"The largest packed test image has {largest} bytes, and a batch transform sends at most "
            f"{LARGEST_PAYLOAD * MEGABYTE}: set dataset.packing.resize, or dataset.packing.encoding to jpg, and build "
            "a new version."
        )
    return payload


def read_answers(
    s3: S3Client, *, settings: Settings, job: str, uris: Sequence[str], classes: int, prefix: str = ""
) -> list[list[float]]:
    """The probabilities of each image in `uris`, in that order.

    `prefix` is the one that stands in front of the images' names in the manifest; without it a name has no slash.
    Raises TransformError naming the images without an answer.
    """
    bucket, folder = parse_s3_uri(f"{transform_prefix(settings, job)}answers/")

    def answer(uri: str) -> list[float] | None:
        key, body = _answer_of(s3, bucket, folder, uri, prefix)
        return None if body is None else read_probabilities(body, origin=f"s3://{bucket}/{key}", classes=classes)

    with ThreadPoolExecutor(READING_THREADS) as pool:
        found = list(pool.map(answer, uris))
    missing = [uri for uri, values in zip(uris, found, strict=True) if values is None]
    if missing:
        shown = ", ".join(missing[:5])
        raise TransformError(
            f"Transform job {job} left no answer for {len(missing)} of {len(uris)} images, such as {shown}."
        )
    return [values for values in found if values is not None]


def _answer_of(s3: S3Client, bucket: str, folder: str, uri: str, prefix: str) -> tuple[str, bytes | None]:
    """An answer is named by what follows the manifest's prefix; by the whole key if that prefix is cut short."""
    name = uri.removeprefix(prefix) if prefix else uri.rpartition("/")[2]
    key = ""
    for named in (name, parse_s3_uri(uri)[1]):
        key = f"{folder}{named}{ANSWER_SUFFIX}"
        try:
            return key, s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            continue
    return key, None

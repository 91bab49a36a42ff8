"""Batch transform over the held-out source images: manifest, request, answers.

Sources: API reference of CreateTransformJob and TransformS3DataSource (ManifestFile); developer guide, "Use Batch
Transform": each input object gives one object of the same name with `.out` at the end.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.datasets.layout import parse_s3_uri
from include.datasets.sources.object_lookup import find_objects
from include.deployment.prediction import read_probabilities
from include.training.instance_types import transform_instance_type
from include.training.requests import tags

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.settings import Settings
    from include.training.naming import Run

logger = logging.getLogger(__name__)

ANSWER_SUFFIX = ".out"
LONGEST_TRANSFORM = timedelta(hours=6)
"""A transform job knows no longest run of its own: after so long its task stops it."""


class TransformError(ValueError):
    """The transform job's input or output is not what an evaluation needs."""


def transform_prefix(settings: Settings, job: str) -> str:
    """Where a transform job's manifest and answers lie, with a slash at the end."""
    return f"s3://{settings.output_bucket}/transform/{job}/"


def manifest_uri(settings: Settings, job: str) -> str:
    """Where a transform job's list of images lies."""
    return f"{transform_prefix(settings, job)}manifest.json"


def write_manifest(s3: S3Client, uris: Sequence[str], *, settings: Settings, job: str) -> str:
    """Write the ManifestFile of a transform job over the images at `uris`; returns the manifest's address.

    Images that were removed since they were packed are left out and named in the log: a transform job fails on them.
    Raises TransformError where none is left, or in more than one bucket, which a manifest cannot say.
    """
    if not uris:
        raise TransformError("There are no held-out images: build a version with dataset.split.test above 0.")
    uris = _still_there(s3, uris)
    prefix = common_prefix(uris)
    document = [{"prefix": prefix}, *(uri.removeprefix(prefix) for uri in uris)]
    manifest = manifest_uri(settings, job)
    bucket, key = parse_s3_uri(manifest)
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(document).encode(), ContentType="application/json")
    return manifest


def read_manifest(s3: S3Client, *, settings: Settings, job: str) -> list[str]:
    """The images of a transform job, as `write_manifest` listed them."""
    bucket, key = parse_s3_uri(manifest_uri(settings, job))
    head, *names = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return [f"{head['prefix']}{name}" for name in names]


def transform_request(
    name: str, *, model: str, manifest: str, conf: RunConf, settings: Settings, dataset: DatasetVersion, run: Run
) -> dict[str, Any]:
    """The body of CreateTransformJob: one request an image, answered by a JSON list of probabilities."""
    key = {"KmsKeyId": settings.kms_key_id} if settings.kms_key_id else {}
    return {
        "TransformJobName": name,
        "ModelName": model,
        "BatchStrategy": "SingleRecord",
        "MaxPayloadInMB": 6,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": manifest}},
            "ContentType": "application/x-image",
            "CompressionType": "None",
            "SplitType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": f"{transform_prefix(settings, name)}answers",
            "Accept": "application/json",
            "AssembleWith": "None",
            **key,
        },
        "TransformResources": {
            "InstanceType": transform_instance_type(conf.endpoint.instance_type),
            "InstanceCount": 1,
        },
        "Tags": tags(settings, run, dataset),
    }


def read_answers(s3: S3Client, *, settings: Settings, job: str, uris: Sequence[str], classes: int) -> list[list[float]]:
    """The probabilities of each image in `uris`, in that order.

    Raises TransformError naming the images without an answer.
    """
    bucket, prefix = parse_s3_uri(f"{transform_prefix(settings, job)}answers/")
    answers = {key.removeprefix(prefix).removesuffix(ANSWER_SUFFIX): key for key in _answer_keys(s3, bucket, prefix)}
    common = common_prefix(uris)
    found = [_answer_of(answers, uri, common) for uri in uris]
    missing = [uri for uri, key in zip(uris, found, strict=True) if key is None]
    if missing:
        shown = ", ".join(missing[:5])
        raise TransformError(
            f"Transform job {job} left no answer for {len(missing)} of {len(uris)} images, such as {shown}."
        )
    return [
        read_probabilities(
            s3.get_object(Bucket=bucket, Key=key)["Body"].read(), origin=f"s3://{bucket}/{key}", classes=classes
        )
        for key in found
        if key is not None
    ]


def common_prefix(uris: Sequence[str]) -> str:
    """The longest `s3://bucket/folder/` all images share. Raises TransformError for several buckets."""
    buckets = sorted({parse_s3_uri(uri)[0] for uri in uris})
    if len(buckets) != 1:
        raise TransformError(f"The held-out images lie in several buckets ({', '.join(buckets)}): copy them into one.")
    first, last = min(uris), max(uris)
    length = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[: first.rindex("/", 0, max(length, len(f"s3://{buckets[0]}/"))) + 1]


def _still_there(s3: S3Client, uris: Sequence[str]) -> list[str]:
    bucket, _ = parse_s3_uri(common_prefix(uris))
    found = find_objects(s3, bucket, (parse_s3_uri(uri)[1] for uri in uris))
    left = [uri for uri in uris if parse_s3_uri(uri)[1] in found]
    if not left:
        raise TransformError(f"All {len(uris)} held-out images, such as {uris[0]}, were removed: put them back.")
    if len(left) < len(uris):
        gone = next(uri for uri in uris if parse_s3_uri(uri)[1] not in found)
        logger.warning("%d of %d held-out images were removed, such as %s", len(uris) - len(left), len(uris), gone)
    return left


def _answer_keys(s3: S3Client, bucket: str, prefix: str) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (entry["Key"] for entry in page.get("Contents", ()) if entry["Key"].endswith(ANSWER_SUFFIX))


def _answer_of(answers: dict[str, str], uri: str, common: str) -> str | None:
    """An answer is named by what follows the manifest's prefix; by the whole key where that prefix is cut short."""
    return answers.get(uri.removeprefix(common)) or answers.get(parse_s3_uri(uri)[1])

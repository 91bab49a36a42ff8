"""Ask a model what is in images, packed as its own training images were: through an endpoint, or by batch transform.

Sources: developer guide, "Image Classification Algorithm": one image a request, answered by a JSON list of
probabilities, one for each class in class order; API reference of CreateTransformJob and TransformS3DataSource
(ManifestFile); developer guide, "Use Batch Transform": each input object gives one object of the same name with `.out`
at the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from include.datasets.layout import parse_s3_uri
from include.datasets.version import HeldOutImage, held_out_images
from include.sagemaker.containers import transform_instance_type
from include.sagemaker.naming import encryption, tags

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

    from include.datasets.image_objects import PackedTestImages
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.sagemaker.naming import Run
    from include.settings import Settings

LARGEST_BODY = 6_291_456
"""Bytes an InvokeEndpoint request may hold."""
SHOWN_FROM = 0.5
"""The probability from which an image of a multi-label dataset counts as showing a class."""

ANSWER_SUFFIX = ".out"
LONGEST_TRANSFORM = timedelta(hours=6)
"""A transform job knows no longest run of its own: after this time its task stops it."""
LARGEST_PAYLOAD = 100
"""MB that MaxPayloadInMB may be, alone and times MaxConcurrentTransforms."""
MEGABYTE = 1_000_000
READING_THREADS = 8
CONCURRENT = 4
"""Requests that a container answers at the same time, if their payloads leave room."""


class PredictionError(ValueError):
    """An image the endpoint cannot take, or an answer that is not a list of probabilities, one for each class."""


class Prediction(BaseModel):
    """What the endpoint said of one held-out image; `expected` and `label` are class names.

    For a multi-label dataset `expected` holds all classes of the image, separated by commas, or `none`, and `label` the
    most probable class. The answer for an image that shows none is correct if no class has a probability of 0.5.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    expected: str
    label: str
    probability: float
    correct: bool


def probabilities(
    runtime: SageMakerRuntimeClient, *, endpoint: str, image: bytes, classes: int | None = None
) -> list[float]:
    """The probabilities of one encoded image, in class order.

    Raises PredictionError for an image above 6 MiB and for an answer with another number of classes than `classes`.
    """
    if not fits_endpoint(image):
        raise PredictionError(
            f"The packed image has {len(image)} bytes, and an endpoint takes at most {LARGEST_BODY}: set "
            "dataset.packing.resize, or dataset.packing.encoding to jpg, and train on a new version; a batch transform "
            "takes up to 100 MB."
        )
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint, Body=image, ContentType=content_type(image), Accept="application/json"
    )
    body = answer["Body"].read()
    return read_probabilities(body, origin=f"endpoint {endpoint}", classes=classes)


def fits_endpoint(image: bytes) -> bool:
    """Whether an InvokeEndpoint request can hold the image."""
    return len(image) <= LARGEST_BODY


def packed_like(dataset: DatasetVersion, source: bytes, *, name: str = "The image") -> bytes:
    """The bytes to send for an image that is in no dataset: packed by the steps of the version a model learned from.

    Raises PredictionError, naming the image, for one that cannot be packed so.
    """
    # OpenCV takes half a second to load, and held-out images are packed already.
    from include.recordio.images import ImageError, pack_image, readable_size  # noqa: PLC0415

    try:
        if dataset.packing.pass_through:
            readable_size(source)
        return pack_image(source, dataset.packing).data
    except ImageError as error:
        raise PredictionError(f"{name} cannot be packed as dataset version {dataset.uri} is: {error.reason}.") from None


def predict_source_image(
    runtime: SageMakerRuntimeClient, *, endpoint: str, source: bytes, dataset: DatasetVersion, name: str = "The image"
) -> dict[str, float]:
    """The probability of each class for an image as it comes from a camera or a bucket, in class order.

    `dataset` is the version that the endpoint's model learned from. Raises PredictionError for an image that cannot be
    packed or sent.
    """
    image = packed_like(dataset, source, name=name)
    values = probabilities(runtime, endpoint=endpoint, image=image, classes=dataset.num_classes)
    return dict(zip(dataset.labels, values, strict=True))


def ranked(values: Sequence[float], labels: Sequence[str], most: int | None = None) -> list[tuple[str, float]]:
    """Class names and their probabilities, the most probable first; classes that are equally probable in class order.

    With `most` only so many of them.
    """
    order = sorted(range(len(values)), key=lambda index: -values[index])
    return [(labels[index], values[index]) for index in order[:most]]


def read_probabilities(body: bytes, *, origin: str, classes: int | None = None) -> list[float]:
    """Read an answer of the algorithm, from an endpoint or a transform job's `.out` file named by `origin`."""
    try:
        answer = json.loads(body)
        values = [float(value) for value in (answer["prediction"] if isinstance(answer, dict) else answer)]
    except (ValueError, TypeError, KeyError):
        raise PredictionError(f"{origin} did not answer with a list of probabilities: {body[:200]!r}") from None
    if classes is not None and len(values) != classes:
        raise PredictionError(
            f"{origin} answered {len(values)} probabilities, the dataset has {classes} classes: "
            "it serves a model of another dataset."
        )
    return values


def predict_held_out(
    runtime: SageMakerRuntimeClient, s3: S3Client, *, endpoint: str, dataset: DatasetVersion, limit: int = 5
) -> list[Prediction]:
    """Predictions on the first held-out images that an endpoint takes."""
    fitting = (image for image in held_out_images(s3, dataset) if fits_endpoint(image.image_bytes))
    return [
        predict_image(runtime, endpoint=endpoint, image=image, labels=dataset.labels, multi_label=dataset.multi_label)
        for image in islice(fitting, limit)
    ]


def predict_image(
    runtime: SageMakerRuntimeClient,
    *,
    endpoint: str,
    image: HeldOutImage,
    labels: Sequence[str],
    multi_label: bool = False,
) -> Prediction:
    """The prediction on one held-out image."""
    values = probabilities(runtime, endpoint=endpoint, image=image.image_bytes, classes=len(labels))
    return prediction_of(image.key, values, image.labels, labels, multi_label=multi_label)


def prediction_of(
    key: str, values: Sequence[float], truth: Sequence[float], labels: Sequence[str], *, multi_label: bool
) -> Prediction:
    """Put probabilities and the truth of one image side by side."""
    best = max(range(len(values)), key=values.__getitem__)
    shows_none = values[best] < SHOWN_FROM
    expected = [index for index, flag in enumerate(truth) if flag] if multi_label else [int(truth[0])]
    return Prediction(
        image=key,
        expected=", ".join(labels[index] for index in expected) or "none",
        label=labels[best],
        probability=values[best],
        correct=best in expected if expected else shows_none,
    )


def content_type(image: bytes) -> str:
    """The content type of an encoded image, by its first bytes."""
    if image.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/png" if image.startswith(b"\x89PNG\r\n\x1a\n") else "application/x-image"


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

"""Ask an endpoint what is in an image, packed as the model's own training images were.

Source: developer guide, "Image Classification Algorithm": one image a request, answered by a JSON list of
probabilities, one for each class in class order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.datasets.version import HeldOutImage, held_out_images

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

    from include.datasets.version import DatasetVersion

LARGEST_BODY = 6_291_456
"""Bytes an InvokeEndpoint request may hold."""
SHOWN_FROM = 0.5
"""The probability from which an image of a multi-label dataset counts as showing a class."""


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

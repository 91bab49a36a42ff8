"""The accuracy a caller of the endpoint gets: every held-out image through InvokeEndpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.datasets.version import HeldOutImage, held_out_images
from include.evaluation.metrics import measure
from include.evaluation.prediction import LARGEST_BODY, PredictionError, fits_endpoint, probabilities

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

    from include.datasets.version import DatasetVersion

Answer = tuple[tuple[float, ...], list[float]]
"""The labels of an image and the probabilities the endpoint gave it."""

WINDOW = 4
"""Requests in hand per thread, so that a large test split is never in memory as a whole."""


class EndpointEvaluation(BaseModel):
    """What the endpoint reached on the held-out images; `too_large` of them no request can hold."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    images: int
    too_large: int = 0
    accuracy: float
    mean_average_precision: float | None = None


def endpoint_evaluation(
    runtime: SageMakerRuntimeClient,
    s3: S3Client,
    *,
    endpoint: str,
    dataset: DatasetVersion,
    threads: int = 4,
    limit: int | None = None,
) -> EndpointEvaluation:
    """Send the packed test images to the endpoint from a few threads and measure its answers.

    Images above InvokeEndpoint's 6 MiB are not sent; they are counted. Raises PredictionError if none can be sent.
    """
    unsent = 0

    def sendable() -> Iterator[HeldOutImage]:
        nonlocal unsent
        for image in held_out_images(s3, dataset, limit):
            if fits_endpoint(image.image_bytes):
                yield image
            else:
                unsent += 1

    def ask(image: HeldOutImage) -> Answer:
        values = probabilities(runtime, endpoint=endpoint, image=image.image_bytes, classes=dataset.num_classes)
        return image.labels, values

    with ThreadPoolExecutor(max_workers=threads) as pool:
        images = sendable()
        waiting = [pool.submit(ask, image) for image in islice(images, threads * WINDOW)]
        refill = (pool.submit(ask, image) for image in images)
        answers = list(_in_order(waiting, refill))
    if not answers:
        raise PredictionError(
            f"None of the {unsent} test images of {dataset.uri} fits into a request to endpoint {endpoint}, which "
            f"holds {LARGEST_BODY} bytes: set dataset.packing.resize, or dataset.packing.encoding to jpg."
        )
    measured = measure(
        [labels for labels, _ in answers],
        [values for _, values in answers],
        dataset.labels,
        multi_label=dataset.multi_label,
    )
    return EndpointEvaluation(
        endpoint=endpoint,
        images=measured.images,
        too_large=unsent,
        accuracy=measured.accuracy,
        mean_average_precision=measured.mean_average_precision,
    )


def _in_order(waiting: list[Future[Answer]], refill: Iterable[Future[Answer]]) -> Iterator[Answer]:
    """Results in the order they were asked for; each one that is done makes room for the next request."""
    upcoming = iter(refill)
    while waiting:
        yield waiting.pop(0).result()
        waiting.extend(islice(upcoming, 1))

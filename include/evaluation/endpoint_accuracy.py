"""What a caller of the endpoint gets: held-out images through InvokeEndpoint, how good the answers are and how fast.

The figures stand beside those with which the served version was registered. If that version has answered the same
images before, both answers to each image are compared, by which a small drop shows; else the two accuracies are. Source
of the interval of their difference: Newcombe, Statistics in Medicine 17 (1998), method 10, from the intervals of both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from include.datasets.image_objects import UnsentImage, with_sources
from include.datasets.version import HeldOutImage, held_out_images
from include.evaluation import write_beside_report
from include.evaluation.comparison import PairedFigures, compare
from include.evaluation.evaluate import AnsweredImages, measured_answers, write_report
from include.evaluation.evaluation_page import ReportContents
from include.evaluation.held_out_answers import HeldOutAnswers, Sent
from include.evaluation.metrics import SIGNIFICANT, ClassScore, Interval
from include.evaluation.prediction import LARGEST_BODY, PredictionError, fits_endpoint, probabilities
from include.pages import NO_PAGES, WebPages

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

    from include.datasets.version import DatasetVersion
    from include.run_conf.sections import EvaluationConf, SampleConf
    from include.sagemaker.naming import Run
    from include.settings import Settings

CONCURRENT = 4
"""Requests at a time: enough to be quick, few enough to leave a busy endpoint alone."""
WINDOW = 4
"""Requests in hand per thread, so that a large test split is never in memory as a whole."""
MOST_NAMED = 20
"""Images that were not sent, by name, in what a task passes on; `metrics.json` has all."""

Answer = tuple[HeldOutImage, list[float], float]
"""An image, the probabilities that the endpoint gave it, and the milliseconds that it took."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Latency(_Document):
    """Milliseconds from a request to its answer, as the asking task sees them; `concurrent` requests at a time."""

    requests: int
    concurrent: int
    p50: float
    p90: float
    p99: float
    seconds: float
    images_per_second: float

    @classmethod
    def of(cls, milliseconds: Sequence[float], *, seconds: float, concurrent: int) -> Latency:
        """The figures of all requests of a measurement, which took so many seconds."""
        p50, p90, p99 = (round(float(value), 2) for value in np.percentile(milliseconds, [50, 90, 99]))
        return cls(
            requests=len(milliseconds),
            concurrent=concurrent,
            p50=p50,
            p90=p90,
            p99=p99,
            seconds=round(seconds, 3),
            images_per_second=round(len(milliseconds) / seconds, 2),
        )

    def __str__(self) -> str:
        return (
            f"{self.p50:.1f} ms (median), {self.p90:.1f} ms (p90), {self.p99:.1f} ms (p99), "
            f"{self.images_per_second:.1f} images/s; {self.requests} requests, {self.concurrent} at a time"
        )


SERVING = "serving.json"
"""The measurement of the endpoint to which a run has deployed, beside the run's report."""


class RegisteredFigure(_Document):
    """The accuracy with which the served version was registered.

    `images` and `interval` are None if the report of that evaluation is gone: such a figure is shown and compared with
    nothing. `answers` is the address of what the version answered for the test images that are measured now; None if it
    was never asked about them.
    """

    group: str
    version: int
    dataset_version: str
    accuracy: float
    images: int | None = None
    interval: Interval | None = None
    sent: Sent = "packed"
    report: str | None = None
    answers: str | None = None

    @property
    def model(self) -> str:
        """The version as a person calls it."""
        return f"{self.group} version {self.version}"


class EndpointEvaluation(_Document):
    """What the endpoint reached on the held-out images.

    `sampled_from` is the size of the test split if only some of it was asked for. `not_sent` of the images could not be
    sent; `unsent` names the first of them. `accuracy_change` is that since the registration, with its interval.
    `paired` are the answers of an evaluation ("champion") and those of now ("challenger") to the same images; None if
    the former were not kept.
    """

    endpoint: str
    dataset_version: str = ""
    images: int
    sampled_from: int | None = None
    sent: Sent = "packed"
    not_sent: int = 0
    unsent: tuple[UnsentImage, ...] = ()
    accuracy: float
    accuracy_interval: Interval | None = None
    mean_average_precision: float | None = None
    classes: dict[str, ClassScore] = {}
    latency: Latency | None = None
    registered: RegisteredFigure | None = None
    accuracy_change: Interval | None = None
    paired: PairedFigures | None = None
    report_uri: str = ""

    @property
    def has_dropped(self) -> bool:
        """Whether the accuracy is lower than before by more than chance explains."""
        if self.paired:
            return self.paired.p_worse < SIGNIFICANT
        return self.accuracy_change is not None and self.accuracy_change.high < 0

    def beside_the_registered(self) -> str:
        """The accuracy beside the registered one, in a sentence."""
        now = f"accuracy {_figure(self.accuracy, self.accuracy_interval, self.images)}"
        known = self.registered
        if known is None:
            return f"{now}. There is no registered figure to compare it with."
        then = f"{known.model} was registered with {_figure(known.accuracy, known.interval, known.images)}"
        if self.paired:
            then += f", and reached {self.paired.champion:.2%} on the same {self.paired.images:,} images"
        elif known.sent != self.sent:
            return f"{now}, of {self.sent} images. {then}, of {known.sent} ones: the two are not compared."
        if self.accuracy_change is None:
            return f"{now}. {then}; the report of that evaluation is gone, so the two cannot be compared."
        word = "The drop is more than chance" if self.has_dropped else "No drop beyond chance"
        return f"{now}. {then}. {word}: the difference is {_points(self.accuracy_change)} points (95 %)."


@dataclass(frozen=True)
class MeasuredEndpoint:
    """What the report shows of a live endpoint."""

    evaluation: EndpointEvaluation

    @property
    def in_words(self) -> str:
        """The endpoint and what it serves."""
        known = self.evaluation.registered
        serves = f", which serves {known.model}" if known else ""
        return f"endpoint {self.evaluation.endpoint}{serves}"

    @property
    def said(self) -> tuple[str, bool]:
        """The figure beside the registered one, and whether it has not dropped."""
        return f"Endpoint {self.evaluation.endpoint}: {self.evaluation.beside_the_registered()}", self.is_well

    @property
    def is_well(self) -> bool:
        """Whether the endpoint is as good as it was registered, as far as that is known."""
        return not self.evaluation.has_dropped

    def tables(self) -> list[tuple[str, Sequence[str], list[Sequence[str]], str]]:
        """Latency and the registered figure."""
        return [*self._latency(), *self._registered()]

    def _latency(self) -> Iterator[tuple[str, Sequence[str], list[Sequence[str]], str]]:
        latency = self.evaluation.latency
        if latency:
            cells = [f"{value:,.1f} ms" for value in (latency.p50, latency.p90, latency.p99)]
            row = (*cells, f"{latency.images_per_second:,.1f}", f"{latency.seconds:,.1f} s", f"{latency.requests:,}")
            head = ("median", "p90", "p99", "images/s", "in all", "requests")
            remark = f"From request to answer, as the task measured it, with {latency.concurrent} requests at a time."
            yield "Latency", head, [row], remark

    def _registered(self) -> Iterator[tuple[str, Sequence[str], list[Sequence[str]], str]]:
        found, known = self.evaluation, self.evaluation.registered
        if known:
            rows: list[Sequence[str]] = [
                ("now", found.dataset_version, *_cells(found.accuracy, found.accuracy_interval, found.images)),
                ("registered", known.dataset_version, *_cells(known.accuracy, known.interval, known.images)),
            ]
            if found.paired:
                before = (f"{found.paired.champion:.2%}", "", f"{found.paired.images:,}")
                rows.insert(1, ("in its evaluation, on the same images", found.dataset_version, *before))
            head = ("", "dataset version", "accuracy", "95 % interval", "images")
            yield "Beside the registered figure", head, rows, self.said[0]

    def places(self) -> list[tuple[str, str]]:
        """The endpoint, the version that it serves, and the report of that version."""
        known = self.evaluation.registered
        served = [("Registered version", known.model), ("Its report", known.report or "")] if known else []
        return [("Endpoint", self.evaluation.endpoint), *served]

    def facts(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        names = {"endpoint", "sampled_from", "latency", "registered", "accuracy_change", "paired"}
        return self.evaluation.model_dump(mode="json", include=names, exclude_none=True)


@dataclass(frozen=True)
class Report:
    """Where the report of a measurement is written, `s3://OUTPUT/reports/RUN/ENDPOINT/`, and what it links to."""

    settings: Settings
    run: Run
    web_pages: WebPages = NO_PAGES


def endpoint_evaluation(
    runtime: SageMakerRuntimeClient,
    s3: S3Client,
    *,
    endpoint: str,
    dataset: DatasetVersion,
    evaluation: EvaluationConf | None = None,
    registered: RegisteredFigure | None = None,
    report: Report | None = None,
    concurrent: int = CONCURRENT,
) -> EndpointEvaluation:
    """Send test images to the endpoint, measure its answers, and write the report if one is wanted.

    `evaluation` says what is sent, the packed images or their sources, and how many: a sample is the same for the same
    seed. Images above InvokeEndpoint's 6 MiB, and sources that no client gets an answer for, are not sent; they are
    counted and named. Raises PredictionError if none can be sent.
    """
    sent: Sent = evaluation.images if evaluation else "packed"
    places = drawn_places(dataset.count("test"), evaluation.sample if evaluation else None)
    unsent: list[UnsentImage] = []
    model = registered.model if registered else endpoint
    answered, milliseconds = AnsweredImages(dataset, model=model, sent=sent), []
    started = time.perf_counter()
    ask = partial(_ask, runtime, endpoint, dataset.num_classes)
    for image, values, took in _answers(ask, _sendable(s3, dataset, sent, places, unsent), concurrent):
        answered.add(image, values)
        milliseconds.append(took)
    seconds = time.perf_counter() - started
    if not milliseconds:
        raise PredictionError(_none_sent(endpoint, dataset, sent, unsent))
    answers = answered.answers()
    measured = measured_answers(answers, dataset)
    interval, paired = measured.intervals.get("accuracy"), _paired(s3, registered, answers)
    change = _change(measured.accuracy, interval, registered, sent)
    found = EndpointEvaluation(
        endpoint=endpoint,
        dataset_version=f"{dataset.name}/{dataset.version}",
        images=measured.images,
        sampled_from=None if places is None else dataset.count("test"),
        sent=sent,
        not_sent=len(unsent),
        unsent=tuple(unsent[:MOST_NAMED]),
        accuracy=measured.accuracy,
        accuracy_interval=interval,
        mean_average_precision=measured.mean_average_precision,
        classes=measured.class_scores(),
        latency=Latency.of(milliseconds, seconds=seconds, concurrent=concurrent),
        registered=registered,
        accuracy_change=paired.difference_interval if paired else change,
        paired=paired,
    )
    if report is None:
        return found
    contents = ReportContents(
        dataset=dataset,
        answers=answers,
        measurement=measured,
        mistakes=answered.mistakes,
        right=answered.right,
        unsent=unsent,
        served=MeasuredEndpoint(found),
    )
    folder = write_report(
        s3, contents, settings=report.settings, run=report.run, folder=endpoint, web_pages=report.web_pages
    )
    return found.model_copy(update={"report_uri": f"{folder}report.html"})


def write_serving(s3: S3Client, measured: EndpointEvaluation, *, settings: Settings, run: Run) -> str:
    """Keep a measurement beside the run's report, which is older than the endpoint; returns its address."""
    return write_beside_report(s3, SERVING, measured, settings=settings, run=run, exclude_none=True)


def drawn_places(images: int, sample: SampleConf | None) -> frozenset[int] | None:
    """The places in the test split that are sent; None for all."""
    if sample is None or sample.images is None or sample.images >= images:
        return None
    drawn = np.random.default_rng(sample.seed).choice(images, sample.images, replace=False)
    return frozenset(int(place) for place in drawn)


def difference_interval(now: float, of_now: Interval, then: float, of_then: Interval) -> Interval:
    """The interval of `now - then`, two figures of different images, from the intervals of both."""
    change = now - then
    return Interval(
        low=change - math.hypot(now - of_now.low, of_then.high - then),
        high=change + math.hypot(of_now.high - now, then - of_then.low),
    )


def _none_sent(endpoint: str, dataset: DatasetVersion, sent: Sent, unsent: Sequence[UnsentImage]) -> str:
    if sent == "source":
        first = f"{unsent[0].key}: {unsent[0].reason}"
        return (
            f"None of the {len(unsent)} test images of {dataset.uri} can be sent to endpoint {endpoint} as it is "
            f"({first}): set evaluation.images to packed."
        )
    return (
        f"None of the {len(unsent)} test images of {dataset.uri} fits into a request to endpoint {endpoint}, which "
        f"holds {LARGEST_BODY} bytes: set dataset.packing.resize, or dataset.packing.encoding to jpg."
    )


def _change(
    accuracy: float, interval: Interval | None, registered: RegisteredFigure | None, sent: Sent
) -> Interval | None:
    if interval is None or registered is None or registered.interval is None or registered.sent != sent:
        return None
    return difference_interval(accuracy, interval, registered.accuracy, registered.interval)


def _paired(s3: S3Client, registered: RegisteredFigure | None, answers: HeldOutAnswers) -> PairedFigures | None:
    """The earlier answers of the served version beside those of now; None if none of the images was answered before."""
    if registered is None or registered.answers is None:
        return None
    before = HeldOutAnswers.load(s3, registered.answers)
    asked_again, known = (
        np.isin(one.record_ids, other.record_ids) for one, other in ((before, answers), (answers, before))
    )
    if not known.any():
        return None
    return compare(before.of_images(asked_again), answers.of_images(known), figure="accuracy").all_images


def _sendable(
    s3: S3Client, dataset: DatasetVersion, sent: Sent, places: Collection[int] | None, unsent: list[UnsentImage]
) -> Iterator[HeldOutImage]:
    """The images to send; those that cannot be sent are noted in `unsent`."""
    all_images = enumerate(held_out_images(s3, dataset, None if places is None else max(places) + 1))
    images = (image for place, image in all_images if places is None or place in places)
    for image in with_sources(s3, dataset, images, largest=LARGEST_BODY) if sent == "source" else images:
        if isinstance(image, UnsentImage):
            unsent.append(image)
        elif fits_endpoint(image.image_bytes):
            yield image
        else:
            reason = f"{len(image.image_bytes)} bytes, a request may have {LARGEST_BODY}"
            unsent.append(UnsentImage(id=image.id, key=image.key, reason=reason))


def _ask(runtime: SageMakerRuntimeClient, endpoint: str, classes: int, image: HeldOutImage) -> Answer:
    started = time.perf_counter()
    values = probabilities(runtime, endpoint=endpoint, image=image.image_bytes, classes=classes)
    return image, values, (time.perf_counter() - started) * 1000


def _answers(
    ask: Callable[[HeldOutImage], Answer], images: Iterator[HeldOutImage], concurrent: int
) -> Iterator[Answer]:
    """The answers in the order of the images, so many at a time."""
    with ThreadPoolExecutor(max_workers=concurrent) as pool:
        waiting = [pool.submit(ask, image) for image in islice(images, concurrent * WINDOW)]
        refill = (pool.submit(ask, image) for image in images)
        yield from _in_order(waiting, refill)


def _in_order(waiting: list[Future[Answer]], refill: Iterable[Future[Answer]]) -> Iterator[Answer]:
    """Results in the order they were asked for; each one that is done makes room for the next request."""
    upcoming = iter(refill)
    while waiting:
        yield waiting.pop(0).result()
        waiting.extend(islice(upcoming, 1))


def _figure(value: float, interval: Interval | None, images: int | None) -> str:
    between = f"95 %: {interval.low:.2%} to {interval.high:.2%}, " if interval else ""
    return f"{value:.2%} ({between}{f'{images:,} images' if images else 'of an unknown number of images'})"


def _cells(value: float, interval: Interval | None, images: int | None) -> tuple[str, str, str]:
    between = f"{interval.low:.1%} to {interval.high:.1%}" if interval else "not known"
    return f"{value:.2%}", between, f"{images:,}" if images else "not known"


def _points(change: Interval) -> str:
    return f"{change.low * 100:+.2f} to {change.high * 100:+.2f}"

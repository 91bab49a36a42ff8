"""The report's page: one HTML file that stands alone, with everything from outside escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from include.datasets.version import DatasetVersion
from include.evaluation.leaderboard import Leaderboard, accuracy_curves, leaderboard_sections
from include.evaluation.metrics import Measurement
from include.evaluation.prediction import Prediction, content_type
from include.pages.charts import heat_map
from include.pages.elements import Markup, joined, page, section, shown, table
from include.sagemaker.epochs import EpochMetrics, KeptWeights, first_epoch_accuracy, kept_weights
from include.sagemaker.job_results import JobResult
from include.training.best_model import BestModel


@dataclass(frozen=True)
class Example:
    """One held-out image and what the model said of it."""

    image: bytes
    prediction: Prediction


@dataclass(frozen=True)
class ReportContents:
    """What a report shows: the evaluated job, where it came from, what it reached."""

    dataset: DatasetVersion
    job: JobResult
    best: BestModel
    measurement: Measurement
    job_epochs: Sequence[EpochMetrics]
    base_epochs: Sequence[EpochMetrics]
    examples: Sequence[Example]
    leaderboard: Leaderboard | None = None

    @property
    def curves(self) -> list[tuple[str, Sequence[EpochMetrics]]]:
        """Epochs by the part their job played; base and incremental if the evaluated job trained a base further."""
        if self.job.name == self.best.job:
            return [(f"base {self.best.job}", self.job_epochs)]
        return [(f"base {self.best.job}", self.base_epochs), (f"{self.job.role} {self.job.name}", self.job_epochs)]


def report_page(contents: ReportContents) -> str:
    """The report as one HTML page."""
    dataset = contents.dataset
    sections = (
        section("Validation accuracy by epoch", accuracy_curves(contents.curves)),
        section("First epoch: base against incremental", _first_epochs(contents)),
        *(leaderboard_sections(contents.leaderboard) if contents.leaderboard else ()),
        section("Confusion matrix", _confusion(contents)),
        section("Classes", _classes(contents.measurement)),
        section("Held-out images", _examples(contents.examples)),
    )
    return page(
        title=f"{dataset.name}: {contents.measurement.accuracy:.2%} on held-out images",
        lead=(
            f"Dataset version {dataset.version}, model of {contents.job.role} job {contents.job.name}. What was sent "
            f"to the model is each test image as it is packed ({dataset.packing.in_words}), from "
            f"{dataset.layout.test_images_uri}."
        ),
        figures=_figures(contents),
        sections=sections,
    )


def _figures(contents: ReportContents) -> list[tuple[str, str]]:
    measured, counts = contents.measurement, contents.dataset.counts
    return [
        (f"{measured.accuracy:.2%}", "accuracy"),
        (f"{measured.top_k_accuracy:.2%}" if measured.top_k_accuracy is not None else "", f"top {measured.top_k}"),
        (
            f"{measured.mean_average_precision:.4f}" if measured.mean_average_precision is not None else "",
            "mean average precision",
        ),
        (f"{measured.images}", "held-out images"),
        (f"{contents.dataset.num_classes}", "classes"),
        (f"{counts.train} + {counts.validation}", "training + validation images"),
    ]


def _first_epochs(contents: ReportContents) -> Markup:
    if contents.job.role != "incremental":
        return Markup()
    best = contents.best
    kept = {
        best.job: kept_weights(contents.base_epochs, best.hyperparameters, reported=best.value),
        contents.job.name: kept_weights(
            contents.job_epochs, contents.job.hyperparameters, reported=contents.job.accuracy
        ),
    }
    rows = [
        (name, _percent(first_epoch_accuracy(epochs)), _kept(kept[job]))
        for job, (name, epochs) in zip(kept, contents.curves, strict=True)
    ]
    return table(("job", "validation accuracy after epoch 1", "of the model that was kept"), rows)


def _confusion(contents: ReportContents) -> Markup:
    confusion = contents.measurement.confusion
    if not contents.dataset.multi_label:
        totals = confusion.sum(axis=1)
        return heat_map(confusion, contents.dataset.labels, corner="expected \\ predicted", totals=totals)
    rows = [
        (label, *(str(int(count)) for count in (cells[1][1], cells[0][1], cells[1][0], cells[0][0])))
        for label, cells in zip(contents.dataset.labels, confusion, strict=True)
    ]
    return table(("class", "rightly shown", "wrongly shown", "missed", "rightly absent"), rows)


def _classes(measured: Measurement) -> Markup:
    rows = [
        (label, f"{score.precision:.4f}", f"{score.recall:.4f}", f"{score.f1:.4f}", str(score.images))
        for label, score in measured.classes.items()
    ]
    return table(("class", "precision", "recall", "F1", "images"), rows)


def _examples(examples: Iterable[Example]) -> Markup:
    figures = joined(_example(example) for example in examples)
    return Markup(f'<div class="examples">{figures}</div>') if figures else Markup()


def _example(example: Example) -> Markup:
    prediction = example.prediction
    kind = content_type(example.image)
    encoded = base64.b64encode(example.image).decode()
    return Markup(
        f'<figure class="{"right" if prediction.correct else "wrong"}">'
        f'<img alt="{shown(prediction.image)}" title="{shown(prediction.image)}" src="data:{kind};base64,{encoded}">'
        f"<figcaption><b>{shown(prediction.label)}</b> {prediction.probability:.1%}<br>"
        f"is {shown(prediction.expected)}</figcaption></figure>"
    )


def _percent(value: float | None) -> str:
    return "not in the log" if value is None else f"{value:.2%}"


def _kept(kept: KeptWeights | None) -> str:
    if kept is None:
        return _percent(None)
    return f"{kept.accuracy:.2%}" + (f", epoch {kept.epoch}" if kept.epoch else "")

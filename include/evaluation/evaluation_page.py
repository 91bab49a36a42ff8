"""The page of an evaluated model: `report.html`, one HTML file that stands alone.

It shows the verdict first, if there is one, then figures with their intervals, classes, mistakes, and how the model was
trained. All that comes from outside is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from include.evaluation.job_profile import PAGE as PROFILE_PAGE
from include.evaluation.job_traces import NO_TRACES, JobTraces, cards
from include.evaluation.leaderboard import PAGE, accuracy_curves, drawn_jobs, first_epochs_table, leaderboard_sections
from include.evaluation.metrics import ClassFigures, Interval, Measurement
from include.evaluation.prediction import content_type
from include.pages import (
    NO_PAGES,
    Markup,
    WebPages,
    joined,
    link,
    listed,
    note,
    page,
    section,
    shown,
    table,
    verdict,
)
from include.pages.charts import MeasuredShare, heat_map, histogram, measured_shares, svg_file
from include.sagemaker.job_results import weights_left

if TYPE_CHECKING:
    from include.datasets.image_objects import UnsentImage
    from include.datasets.version import DatasetVersion
    from include.evaluation.comparison import ClassChange, Comparison, PairedFigures
    from include.evaluation.held_out_answers import HeldOutAnswers
    from include.evaluation.job_traces import Diagnosis
    from include.evaluation.leaderboard import Leaderboard
    from include.evaluation.metrics import Verdict
    from include.sagemaker.epochs import EpochMetrics
    from include.sagemaker.job_results import JobResult
    from include.training.best_model import BestModel

HEAT_CLASSES = 40
"""Classes up to which the confusion matrix is drawn; of more the most frequent confusions are listed."""
MOST_CONFUSIONS = 40
MOST_WORSE = 20
MOST_UNSENT = 20
TO = "\u00a0to\u00a0"
"""Between the ends of an interval, which stay in one line."""


@dataclass(frozen=True)
class Example:
    """One held-out image to show: its place among the answers, and its bytes, empty if it is too large for a page."""

    place: int
    image: bytes


@dataclass(frozen=True)
class ComparedChampion:
    """The champion beside the evaluated model: its answers, in the same order, its figures, and the comparison."""

    answers: HeldOutAnswers
    measurement: Measurement
    comparison: Comparison


@dataclass(frozen=True)
class TrainedModel:
    """Where an evaluated model came from: its job, and the model `best` that the job trained further, or itself."""

    job: JobResult
    best: BestModel
    job_epochs: Sequence[EpochMetrics]
    base_epochs: Sequence[EpochMetrics]
    leaderboard: Leaderboard | None = None
    diagnoses: Sequence[Diagnosis] = ()

    @property
    def curves(self) -> list[tuple[str, Sequence[EpochMetrics]]]:
        """Epochs by the part their job played; base and incremental if the evaluated job trained a base further."""
        if self.job.name == self.best.job:
            return [(f"base {self.best.job}", self.job_epochs)]
        return [(f"base {self.best.job}", self.base_epochs), (f"{self.job.role} {self.job.name}", self.job_epochs)]

    @property
    def accuracies(self) -> Markup:
        """Validation accuracy by epoch, drawn; a job goes by its part."""
        return accuracy_curves([(name.partition(" ")[0], epochs) for name, epochs in self.curves])

    @property
    def further_accuracies(self) -> Markup:
        """The accuracies of jobs that the leaderboard does not draw, in colours that it does not use."""
        board = self.leaderboard
        drawn = drawn_jobs(board) if board else frozenset()
        runs = [(name.partition(" "), epochs) for name, epochs in self.curves]
        parts = [(part, epochs) for (part, _, job), epochs in runs if job not in drawn]
        return accuracy_curves(parts, first_colour=len(board.jobs) if board else 0)


class ServedModel(Protocol):
    """A live endpoint that answered the images: what the page and `metrics.json` show of it."""

    @property
    def in_words(self) -> str:
        """The endpoint and what it serves, as the page's first words."""

    @property
    def said(self) -> tuple[str, bool]:
        """What came out of the check in a sentence, and whether all is well."""

    def tables(self) -> Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]], str]]:
        """Further tables: title, head, rows, and a remark."""

    def places(self) -> Sequence[tuple[str, str]]:
        """Names and addresses of what the endpoint serves."""

    def facts(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""


@dataclass(frozen=True)
class ReportContents:
    """What a report shows: what was answered and reached, and by which model.

    `mistakes` begin with the one the model was most certain of; `right` are a few images that it names rightly. Images
    that could not be sent are `unsent`. The model is
    that of a training job (`trained`), which left its `traces`, or what an endpoint serves (`served`).
    """

    dataset: DatasetVersion
    answers: HeldOutAnswers
    measurement: Measurement
    mistakes: Sequence[Example]
    right: Sequence[Example]
    unsent: Sequence[UnsentImage] = ()
    trained: TrainedModel | None = None
    served: ServedModel | None = None
    traces: JobTraces = NO_TRACES
    champion: ComparedChampion | None = None
    verdict: Verdict | None = None

    @property
    def curves(self) -> list[tuple[str, Sequence[EpochMetrics]]]:
        """The epochs of the model's training."""
        return self.trained.curves if self.trained else []


def evaluation_page(contents: ReportContents, *, folder: str, run_id: str, web_pages: WebPages = NO_PAGES) -> str:
    """The page as HTML; `folder` is the address of the report's folder, `web_pages` is what it links to."""
    dataset = contents.dataset
    sections = (
        *_compared(contents.champion),
        *_served(contents.served),
        section("Not sent", *_not_sent(contents)),
        section("Figures", *_figures(contents)),
        section("Success by class", *_classes_by_size(contents)),
        section("Confusion matrix", *_confusion(contents)),
        section("Calibration", *_calibration(contents)),
        section("Worst mistakes", *_mistakes(contents)),
        section("Right answers", _examples(contents, contents.right)),
        section("Classes", _classes(contents)),
        *(_training(contents.trained) if contents.trained else ()),
        section("Where to find more", _places(contents, folder, run_id, web_pages)),
    )
    return page(
        title=f"{dataset.name}: {contents.measurement.accuracy:.2%} on held-out images",
        lead=(
            f"Dataset version {dataset.version}, {_model(contents)}. What was sent to the model is {_sent(contents)}."
        ),
        figures=_tiles(contents),
        sections=sections,
        banner=_verdict(contents),
    )


def plots(contents: ReportContents) -> dict[str, str]:
    """The charts of the page as SVG files, by name."""
    drawn = {
        "success_by_class": joined(_classes_by_size(contents)[:1]),
        "calibration": joined(_calibration(contents)[1:]),
        "validation_accuracy": contents.trained.accuracies if contents.trained else Markup(),
    }
    files = {f"plots/{name}.svg": svg_file(figure) for name, figure in drawn.items()}
    return {name: text for name, text in files.items() if text}


def _sent(contents: ReportContents) -> str:
    dataset = contents.dataset
    if contents.answers.sent == "source":
        return "each test image as it is in its source, without the steps of packing"
    return f"each test image as it is packed ({dataset.packing.in_words}), from {dataset.layout.test_images_uri}"


def _not_sent(contents: ReportContents) -> list[Markup]:
    if not contents.unsent:
        return []
    rows = [(image.key, image.reason) for image in contents.unsent[:MOST_UNSENT]]
    test_images = contents.measurement.images + len(contents.unsent)
    about = (
        f"{len(contents.unsent):,} of {test_images:,} images could not be sent and do not count. metrics.json "
        "names all."
    )
    return [table(("image", "why"), rows), note(about)]


def _model(contents: ReportContents) -> str:
    if contents.trained:
        return f"model of {contents.trained.job.role} job {contents.trained.job.name}"
    return contents.served.in_words if contents.served else contents.answers.model


def _verdict(contents: ReportContents) -> Markup | None:
    if contents.served:
        said, well = contents.served.said
        return verdict(said, accepted=well, words=("Well", "Worse"))
    decided = contents.verdict
    return verdict(decided.reason, accepted=decided.accepted) if decided else None


def _served(served: ServedModel | None) -> list[Markup]:
    tables = served.tables() if served else ()
    return [section(title, table(head, rows), note(remark)) for title, head, rows, remark in tables]


def _training(trained: TrainedModel) -> list[Markup]:
    return [
        section("Diagnostics", *_diagnostics(trained.diagnoses)),
        section(
            "Validation accuracy by epoch",
            trained.further_accuracies,
        ),
        section("First epoch: base against incremental", _first_epochs(trained)),
        *(leaderboard_sections(trained.leaderboard) if trained.leaderboard else ()),
    ]


def _diagnostics(diagnoses: Sequence[Diagnosis]) -> list[Markup]:
    about = (
        "What went wrong in the training of this model, by the rules of SageMaker Debugger. What the job spent "
        f"its time on is in {PROFILE_PAGE}, in the same folder."
    )
    return [note(about), cards(diagnoses)] if diagnoses else []


def _tiles(contents: ReportContents) -> list[tuple[str, str]]:
    measured, counts = contents.measurement, contents.dataset.counts
    return [
        (f"{measured.accuracy:.2%}", _with_interval("accuracy", measured)),
        (
            f"{measured.top_k_accuracy:.2%}" if measured.top_k_accuracy is not None else "",
            _with_interval(f"top {measured.top_k}", measured, "top_k_accuracy"),
        ),
        (
            f"{measured.mean_average_precision:.4f}" if measured.mean_average_precision is not None else "",
            _with_interval("mean average precision", measured, "mean_average_precision"),
        ),
        (f"{measured.images}", "held-out images"),
        (f"{contents.dataset.num_classes}", "classes"),
        (f"{counts.train} + {counts.validation}", "training + validation images"),
    ]


def _with_interval(name: str, measured: Measurement, figure: str = "accuracy") -> str:
    interval = measured.intervals.get(figure)
    return f"{name}, {_between(interval)}" if interval else name


def _between(interval: Interval | None) -> str:
    return f"{interval.low:.1%}{TO}{interval.high:.1%}" if interval else ""


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"


def _compared(champion: ComparedChampion | None) -> tuple[Markup, ...]:
    if champion is None:
        return ()
    comparison = champion.comparison
    name = comparison.figure.replace("_", " ")
    columns = [_paired_column("all test images", comparison.all_images)]
    if comparison.new_images:
        columns.append(_paired_column("new images alone", comparison.new_images))
    if comparison.earlier_images:
        columns.append(_paired_column("images of before", comparison.earlier_images))
    head, *rows = zip(*[_paired_names(name), *columns], strict=True)
    about = (
        f"Champion: {comparison.champion}. Challenger: {comparison.challenger}, the model of this page. Both answered "
        f"the same images. p, by {comparison.all_images.test}, is the chance that two equally good models "
        "differ this much."
    )
    if comparison.left_out:
        about += f" {comparison.left_out:,} test images do not count: the champion has learned from them."
    return (
        section("Champion and challenger", note(about), table(head, rows)),
        section("Classes that got worse", *_worse_classes(comparison.worse_classes)),
    )


def _paired_names(figure: str) -> tuple[str, ...]:
    pairs = ("both right", "only the champion right", "only the challenger right", "both wrong")
    return ("", "images", *pairs, f"{figure} of the champion", "of the challenger", "difference", "95 % interval", "p")


def _paired_column(name: str, figures: PairedFigures) -> tuple[str, ...]:
    pairs, interval = figures.pairs, figures.difference_interval
    return (
        name,
        f"{figures.images:,}",
        *(f"{count:,}" for count in (pairs.both_right, pairs.only_champion, pairs.only_challenger, pairs.both_wrong)),
        f"{figures.champion:.2%}",
        f"{figures.challenger:.2%}",
        f"{figures.difference:+.2%}",
        f"{interval.low:+.1%}{TO}{interval.high:+.1%}",
        _p_value(figures.p_two_sided),
    )


def _worse_classes(changes: Sequence[ClassChange]) -> list[Markup]:
    if not changes:
        return [note("None: the challenger answers at least as many images of each class rightly.")]
    rows = [
        (
            change.label,
            f"{change.images:,}",
            f"{change.champion:.1%}",
            f"{change.challenger:.1%}",
            f"{change.only_champion:,}",
            f"{change.only_challenger:,}",
            _p_value(change.p_worse),
            Markup("<span class=warn>significant</span>") if change.significant else "may\u00a0be\u00a0chance",
        )
        for change in changes[:MOST_WORSE]
    ]
    head = ("class", "images", "champion", "challenger", "only champion right", "only challenger right", "p", "")
    more = (
        [note(f"{len(changes) - MOST_WORSE} more classes are in comparison.json.")] if len(changes) > len(rows) else []
    )
    return [table(head, rows), *more]


def _figures(contents: ReportContents) -> list[Markup]:
    """A row for each figure, with the champion's beside it where there is one."""
    measured = contents.measurement
    other = contents.champion.measurement if contents.champion else None
    names = {
        "accuracy": "accuracy",
        "top_k_accuracy": f"top {measured.top_k} accuracy",
        "exact_match": "every label of an image right",
        "mean_average_precision": "mean average precision",
    }
    rows = []
    for figure, name in names.items():
        value = getattr(measured, figure)
        if value is not None:
            theirs = [f"{getattr(other, figure):.2%}", _between(other.intervals.get(figure))] if other else []
            rows.append((name, f"{value:.2%}", _between(measured.intervals.get(figure)), *theirs))
    error = "calibration error (ECE), less is better"
    theirs = [f"{other.calibration.expected_error:.2%}", ""] if other else []
    rows.append((error, f"{measured.calibration.expected_error:.2%}", "", *theirs))
    head = ("figure", "this model", "95 % interval", *(("champion", "95 % interval") if other else ()))
    about = (
        f"Measured on {measured.images:,} images. Of all images of this kind the figure is within such an interval in "
        "95 of 100 cases."
    )
    return [table(head, rows), note(about)]


def _classes_by_size(contents: ReportContents) -> list[Markup]:
    """Recall of each class against its number of training images."""
    dots = [
        MeasuredShare(
            at=score.training_images or 0,
            share=score.recall,
            name=label,
            interval=(score.recall_interval.low, score.recall_interval.high) if score.recall_interval else None,
        )
        for label, score in contents.measurement.classes.items()
        if score.images
    ]
    plot = measured_shares(
        "Recall of each class by its number of training images",
        dots,
        across="training images of the class",
        up="Each dot is a class, its line the 95 % interval: short for classes with many held-out images.",
        named=True,
    )
    return [plot, note("All classes with all figures are in classes.csv, in the same folder.")] if dots else []


def _calibration(contents: ReportContents) -> list[Markup]:
    measured = contents.measurement
    bins = measured.calibration.bins
    dots = [
        MeasuredShare(
            at=one.probability,
            share=one.share,
            name=f"{one.answers:,} answers with {one.low:.0%} to {one.high:.0%}",
            interval=(one.interval.low, one.interval.high) if one.interval else None,
        )
        for one in bins
    ]
    several = contents.dataset.multi_label
    kind = "the probability of each class of each image" if several else "the probability of the named class"
    right = "the image shows the class" if several else "the class is right"
    about = (
        f"Expected calibration error: {measured.calibration.expected_error:.2%}. On the dashed line probabilities are "
        "right; below it the model is too certain."
    )
    values = contents.answers.probabilities
    given = np.nan_to_num(values.ravel() if several else values.max(axis=1), nan=0.0).astype(np.float64)
    plot = measured_shares(
        "Reliability", dots, across=kind, up=f"Share of answers for which {right}, by probability.", ideal=True
    )
    spread = histogram("How sure the model is", given, lambda share: f"{min(share, 1.0):.0%}")
    return [note(about), Markup(f'<div class="side">{plot}{spread}</div>')]


def _confusion(contents: ReportContents) -> list[Markup]:
    confusion, labels = contents.measurement.confusion, contents.dataset.labels
    if contents.dataset.multi_label:
        rows = [
            (label, *(str(int(count)) for count in (cells[1][1], cells[0][1], cells[1][0], cells[0][0])))
            for label, cells in zip(labels, confusion, strict=True)
        ]
        return [table(("class", "rightly shown", "wrongly shown", "missed", "rightly absent"), rows)]
    totals = confusion.sum(axis=1)
    if len(labels) <= HEAT_CLASSES:
        return [heat_map(confusion, labels, corner="expected \\ predicted", totals=totals)]
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    most = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    cells = [divmod(int(cell), len(labels)) for cell in most]
    rows = [
        (labels[row], labels[column], f"{wrong[row, column]:,}", f"{wrong[row, column] / totals[row]:.1%}")
        for row, column in cells
        if wrong[row, column]
    ]
    about = f"The most frequent confusions; the whole matrix of {len(labels)} classes is in confusion_matrix.csv."
    return [note(about), table(("expected", "predicted", "images", "of the class"), rows)] if rows else []


def _classes(contents: ReportContents) -> Markup:
    several = contents.dataset.multi_label
    head = ["class", "training images", "images", "precision", "recall", "95 % of recall", "F1"]
    head += ["average precision", "best F1 (from)"] if several else []
    rows = []
    for label, score in contents.measurement.classes.items():
        best = f"{_short(score.best_f1)}\u00a0({_short(score.best_threshold)})" if score.best_f1 is not None else ""
        rows.append((*_class_row(label, score), *((_short(score.average_precision), best) if several else ())))
    about = "In brackets the lowest probability for a yes that gives the best F1 on these images."
    return joined((table(head, rows), note(about) if several else ""))


def _class_row(label: str, score: ClassFigures) -> tuple[str, ...]:
    return (
        label,
        "" if score.training_images is None else f"{score.training_images:,}",
        f"{score.images:,}",
        f"{score.precision:.4f}",
        f"{score.recall:.4f}",
        _between(score.recall_interval),
        f"{score.f1:.4f}",
    )


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _mistakes(contents: ReportContents) -> list[Markup]:
    wrong = int((~contents.answers.right).sum())
    if not wrong:
        return [note("None: every held-out image was answered rightly.")]
    said = f"{wrong:,} of {contents.measurement.images:,} images were answered wrongly."
    if len(contents.mistakes) < wrong:
        said += f" These are the {len(contents.mistakes)} that the model was most certain of; all are in "
        "predictions.parquet."
    else:
        said += " The most certain answers come first."
    return [note(said), _examples(contents, contents.mistakes)]


def _examples(contents: ReportContents, examples: Sequence[Example]) -> Markup:
    figures = joined(_example(contents, example) for example in examples)
    return Markup(f'<div class="examples">{figures}</div>') if figures else Markup()


def _example(contents: ReportContents, example: Example) -> Markup:
    answers, champion = contents.answers, contents.champion
    key = answers.keys[example.place]
    if example.image:
        kind, encoded = content_type(example.image), base64.b64encode(example.image).decode()
        picture = f'<img alt="{shown(key)}" title="{shown(key)}" src="data:{kind};base64,{encoded}">'
    else:
        picture = '<div class="absent">too large for this page</div>'
    said, expected = shown(answers.said(example.place)), shown(answers.expected(example.place))
    beside = f"<br>champion: {shown(champion.answers.said(example.place))}" if champion else ""
    return Markup(
        f'<figure class="{"right" if answers.right[example.place] else "wrong"}">{picture}'
        f"<figcaption><b>{said}</b><br>is {expected}{beside}"
        f'<small title="{shown(key)}">{shown(key.rpartition("/")[2])}</small></figcaption></figure>'
    )


def _first_epochs(trained: TrainedModel) -> Markup:
    if trained.job.role != "incremental":
        return Markup()
    best, job = trained.best, trained.job
    kept = (
        weights_left(best, trained.base_epochs, reported=best.value),
        weights_left(job, trained.job_epochs, reported=job.value),
    )
    return first_epochs_table((*curve, weights) for curve, weights in zip(trained.curves, kept, strict=True))


def _places(contents: ReportContents, folder: str, run_id: str, web_pages: WebPages) -> Markup:
    layout, trained = contents.dataset.layout, contents.trained
    names: list[tuple[str, str]] = [("Run", link(run_id, web_pages.run))]
    if trained:
        names += [
            ("Training job", link(trained.job.name, web_pages.job(trained.job.name))),
            ("Model", trained.job.artifact or ""),
            ("Leaderboard", f"{folder}{PAGE}" if trained.leaderboard else ""),
            ("Profile of the job", f"{folder}{PROFILE_PAGE}" if trained.diagnoses else ""),
        ]
    names += contents.served.places() if contents.served else []
    names += [
        ("Dataset page", f"s3://{layout.bucket}/{layout.report}"),
        ("This folder", folder),
        ("All in one file", f"{folder}results.tar.gz"),
    ]
    return listed((name, web_pages.linked(value)) for name, value in names)

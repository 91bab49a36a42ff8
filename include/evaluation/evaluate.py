"""Evaluate a model: the answers of a finished transform job against the truth of the held-out images, and the report.

The report is a folder in S3: figures for machines, a page for people, and one archive of all of it.
"""

from __future__ import annotations

import csv
import gzip
import heapq
import io
import json
import logging
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from include.datasets.image_objects import UnsentImage, record_id_of, unsent_images
from include.datasets.version import held_out_images, learned_test_images
from include.evaluation import comparison as compared
from include.evaluation import held_out_answers
from include.evaluation.comparison import PromotionRule
from include.evaluation.diagnostics import diagnose
from include.evaluation.evaluation_page import (
    ComparedChampion,
    Example,
    ReportContents,
    TrainedModel,
    evaluation_page,
    plots,
)
from include.evaluation.held_out_answers import HeldOutAnswers, Sent
from include.evaluation.job_profile import PAGE, profile_of, profile_page
from include.evaluation.job_traces import NO_TRACES, JobTraces, Trained
from include.evaluation.metrics import Evaluation, Measurement, measure
from include.evaluation.prediction import TransformError, read_answers, read_manifest
from include.pages import NO_PAGES, WebPages
from include.sagemaker.epochs import epochs_of_job

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion, HeldOutImage
    from include.evaluation.job_traces import Diagnosis
    from include.evaluation.leaderboard import Leaderboard
    from include.run_conf import RunConf
    from include.sagemaker.epochs import EpochMetrics
    from include.sagemaker.job_results import JobResult
    from include.sagemaker.naming import Run
    from include.settings import Settings
    from include.training.best_model import BestModel


MISTAKES = 24
EXAMPLES = 12
"""Images that the page shows: so many mistakes at most, and if they are fewer than `EXAMPLES`, right ones besides."""
LARGEST_EXAMPLE = 200_000
"""Bytes of an image that the page still shows."""
NOT_WORSE = PromotionRule()
DIAGNOSTICS = "diagnostics.json"
LEARNED_ALL = "it has learned from all test images of this dataset version"
RESULTS = "results.tar.gz"
CONTENT_TYPES = {
    ".csv": "text/csv",
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class ChampionAnswers:
    """The model to compare with.

    `predictions` is the address at which its answers for the same dataset version are kept. If the run has asked it
    for them, `transform_job` is the job that did, and they are kept there now; `model` is the champion's training job.
    Images of a record id from `first_new_record` on are new to it: that is `next_record_id` of the dataset version it
    learned from. `learned_from` is the address of that version if the evaluated one did not grow from it: test images
    that it was trained with do not count then.
    """

    predictions: str
    model: str = ""
    transform_job: str = ""
    first_new_record: int | None = None
    learned_from: str = ""


def evaluate(
    s3: S3Client,
    logs: CloudWatchLogsClient,
    *,
    job: JobResult,
    best: BestModel,
    transform_job: str | None,
    dataset: DatasetVersion,
    settings: Settings,
    run: Run,
    top_k: int | None = None,
    leaderboard: Leaderboard | None = None,
    run_conf: RunConf | None = None,
    champion: ChampionAnswers | None = None,
    sent: Sent = "packed",
    rule: PromotionRule = NOT_WORSE,
    uncompared: str = "",
    traces: JobTraces = NO_TRACES,
    web_pages: WebPages = NO_PAGES,
) -> Evaluation:
    """Measure the model of `job` and write the run's report; `best` is the model it trained further, or itself.

    The answers are those of `transform_job`, and are kept for later runs; without a job they are those that an earlier
    run has kept. `sent` is what both models were asked about. Epochs that the `leaderboard` has are not read from the
    logs again. With a `champion` the report also has the comparison with it; `uncompared` is why there is a champion
    and no comparison is asked for. The verdict is by the `rule`. The report's diagnostics and the profile show
    what the training left, its `traces`. The page links to `web_pages`. Raises TransformError for images without an
    answer, and ComparisonError for a champion that answered other images or knows other classes.
    """
    kept = held_out_answers.kept_at(settings, dataset, job=job.name, artifact=str(job.artifact), sent=sent)
    if transform_job:
        by_record = _answers_of(s3, transform_job, settings, dataset)
    else:
        by_record = HeldOutAnswers.load(s3, kept).by_record()
    origin = f"Transform job {transform_job}" if transform_job else kept
    answered, unsent = AnsweredImages(dataset, model=job.name, sent=sent), _unsent(s3, dataset, sent)
    _put_beside_the_truth(answered, s3, by_record, unsent=unsent, origin=origin)
    answers = answered.answers()
    if transform_job:
        held_out_answers.keep(s3, kept, answers)
    measured = measured_answers(answers, dataset, top_k)
    epochs = _epochs(logs, job.name, leaderboard)
    beside = (
        _beside_the_champion(s3, champion, answers, dataset=dataset, settings=settings, top_k=top_k)
        if champion
        else None
    )
    decided = compared.verdict(
        beside.comparison if beside else None,
        accuracy=measured.accuracy,
        rule=rule,
        chance=measured.chance,
        uncompared=uncompared,
        incomparable=LEARNED_ALL if champion and beside is None else "",
    )
    trained = TrainedModel(
        job=job.with_epochs(epochs),
        best=best,
        job_epochs=epochs,
        base_epochs=epochs if best.job == job.name else _epochs(logs, best.job, leaderboard),
        leaderboard=leaderboard,
    )
    trained = replace(trained, diagnoses=_diagnoses(trained, traces, measured))
    contents = ReportContents(
        dataset=dataset,
        answers=answers,
        measurement=measured,
        mistakes=answered.mistakes,
        right=answered.right,
        unsent=unsent,
        trained=trained,
        traces=traces,
        champion=beside,
        verdict=decided,
    )
    folder = write_report(s3, contents, settings=settings, run=run, run_conf=run_conf, web_pages=web_pages)
    return Evaluation(
        job=job.name,
        images=measured.images,
        accuracy=measured.accuracy,
        accuracy_interval=measured.intervals["accuracy"],
        top_k=measured.top_k,
        top_k_accuracy=measured.top_k_accuracy,
        mean_average_precision=measured.mean_average_precision,
        classes=measured.class_scores(),
        report_uri=f"{folder}report.html",
        metrics_uri=f"{folder}metrics.json",
        predictions_uri=f"{folder}{held_out_answers.DOCUMENT}",
        results_uri=f"{folder}{RESULTS}",
        comparison_uri=f"{folder}{compared.DOCUMENT}" if beside else "",
        verdict=decided,
    )


def _answers_of(s3: S3Client, job: str, settings: Settings, dataset: DatasetVersion) -> dict[int, list[float]]:
    """The answers of a transform job by the record ids of the images."""
    uris = read_manifest(s3, settings=settings, job=job)
    values = read_answers(s3, settings=settings, job=job, uris=uris, classes=dataset.num_classes)
    return {record_id_of(uri): answer for uri, answer in zip(uris, values, strict=True)}


def _epochs(logs: CloudWatchLogsClient, job: str, leaderboard: Leaderboard | None) -> Sequence[EpochMetrics]:
    known = leaderboard.job(job) if leaderboard else None
    return known.epochs if known and known.epochs else epochs_of_job(logs, job)


def _diagnoses(trained: TrainedModel, traces: JobTraces, measured: Measurement) -> list[Diagnosis]:
    """What the rules say about the model's training; the log has a line for each."""
    found = diagnose(
        Trained(
            epochs=trained.job_epochs,
            kept_epoch=trained.job.kept_epoch,
            traces=traces,
            training_images={label: score.training_images or 0 for label, score in measured.classes.items()},
            recalls={label: score.recall for label, score in measured.classes.items() if score.images},
            weighted=trained.job.hyperparameters.get("weighted_loss", "0").strip('"') in ("1", "true"),
        )
    )
    for finding in (*(one.finding for one in found), *profile_of(traces).findings):
        log.info("%s: %s. %s", finding.rule, finding.status, f"{finding.says} {finding.advice}".strip())
    return found


def measured_answers(answers: HeldOutAnswers, dataset: DatasetVersion, top_k: int | None = None) -> Measurement:
    """The figures of answers to test images of `dataset`, with the size of each class in training."""
    return measure(
        answers.truth if answers.multi_label else answers.truth[:, None],
        answers.probabilities,
        dataset.labels,
        multi_label=dataset.multi_label,
        top_k=top_k,
        training_images={label: counts.train for label, counts in dataset.class_counts.items()},
    )


def _unsent(s3: S3Client, dataset: DatasetVersion, sent: Sent) -> list[UnsentImage]:
    return (unsent_images(s3, dataset) or []) if sent == "source" else []


def _put_beside_the_truth(
    answered: AnsweredImages,
    s3: S3Client,
    values: Mapping[int, Sequence[float]],
    *,
    unsent: Sequence[UnsentImage],
    origin: str,
) -> None:
    """Put the answers beside the labels of every held-out image that was sent."""
    dataset, known = answered.dataset, set()
    for image in held_out_images(s3, dataset):
        known.add(image.id)
        if image.id in values:
            answered.add(image, values[image.id])
    known -= {image.id for image in unsent}
    if known != values.keys():
        raise TransformError(
            f"{origin} was not of dataset version {dataset.uri}: it measured {len(values)} images, and "
            f"the test split has {len(known)}, of which it measured {len(known & values.keys())}."
        )


class AnsweredImages:
    """Held-out images as they are answered one after the other; of their bytes memory holds those that a page shows."""

    def __init__(self, dataset: DatasetVersion, *, model: str, sent: Sent = "packed") -> None:
        self.dataset = dataset
        self._model = model
        self._sent: Sent = sent
        self._images: list[tuple[int, str, Sequence[float]]] = []
        self._values: list[Sequence[float]] = []
        self._worst: list[tuple[float, int, bytes]] = []
        self._right: list[Example] = []

    def __len__(self) -> int:
        return len(self._images)

    def add(self, image: HeldOutImage, values: Sequence[float]) -> None:
        """Take the next image and the probability of each class."""
        place = len(self._images)
        self._images.append((image.id, image.key, image.labels))
        self._values.append(values)
        one = self._answers(place)
        shown = image.image_bytes if len(image.image_bytes) <= LARGEST_EXAMPLE else b""
        if not one.right[0]:
            keep = heapq.heappush if len(self._worst) < MISTAKES else heapq.heappushpop
            keep(self._worst, (float(one.mistakenness[0]), -place, shown))
        elif len(self._right) < EXAMPLES and shown:
            self._right.append(Example(place, shown))

    def answers(self) -> HeldOutAnswers:
        """All answers beside the truth."""
        return self._answers(0)

    @property
    def mistakes(self) -> list[Example]:
        """The mistakes to show, the most certain first."""
        return [Example(-place, shown) for _, place, shown in sorted(self._worst, reverse=True)]

    @property
    def right(self) -> list[Example]:
        """Right answers to show, if mistakes are few."""
        return self._right[: max(0, EXAMPLES - len(self._worst))]

    def _answers(self, first: int) -> HeldOutAnswers:
        return HeldOutAnswers.of(
            self._images[first:],
            self._values[first:],
            model=self._model,
            dataset=self.dataset.uri,
            labels=self.dataset.labels,
            multi_label=self.dataset.multi_label,
            sent=self._sent,
        )


def _beside_the_champion(
    s3: S3Client,
    champion: ChampionAnswers,
    answers: HeldOutAnswers,
    *,
    dataset: DatasetVersion,
    settings: Settings,
    top_k: int | None,
) -> ComparedChampion | None:
    """The comparison; None if the champion has learned from all of the images."""
    if champion.transform_job:
        values = _answers_of(s3, champion.transform_job, settings, dataset)
        theirs = answers.of_another(champion.model, values)
        held_out_answers.keep(s3, champion.predictions, theirs)
    else:
        theirs = compared.same_images(HeldOutAnswers.load(s3, champion.predictions), answers)
    since = champion.first_new_record
    new = [] if since is None else answers.record_ids[answers.record_ids >= since].tolist()
    learned = learned_test_images(s3, dataset, champion.learned_from) if champion.learned_from else set()
    if learned.issuperset(answers.record_ids.tolist()):
        return None
    comparison = compared.compare(theirs, answers, new_images=new, without=learned)
    return ComparedChampion(theirs, measured_answers(theirs, dataset, top_k), comparison)


def write_report(
    s3: S3Client,
    contents: ReportContents,
    *,
    settings: Settings,
    run: Run,
    run_conf: RunConf | None = None,
    folder: str = "",
    web_pages: WebPages = NO_PAGES,
) -> str:
    """Write the report's folder, `s3://OUTPUT/reports/RUN/`, or `folder/` in it; returns its address.

    A retried task writes the same files again. The archive also has the page's charts as SVG files, and the `run_conf`,
    which is kept in the folder when the model is registered.
    """
    prefix = f"{settings.report_prefix(run.name)}{folder}{'/' if folder else ''}"
    uri = f"s3://{settings.output_bucket}/{prefix}"
    measured = contents.measurement
    texts = {
        "metrics.json": _json(_metrics(contents)),
        "classification_report.json": _json(measured.report),
        "confusion_matrix.csv": confusion_csv(measured, contents.dataset.labels),
        "classes.csv": classes_csv(measured),
        "report.html": evaluation_page(contents, folder=uri, run_id=run.run_id, web_pages=web_pages),
    }
    if contents.trained and contents.trained.diagnoses:
        texts |= _of_diagnostics(contents.trained, contents.traces)
    if contents.champion:
        comparison = contents.champion.comparison.model_copy(update={"verdict": contents.verdict})
        texts[compared.DOCUMENT] = comparison.model_dump_json(indent=2)
    files = {name: text.encode() for name, text in texts.items()}
    files[held_out_answers.DOCUMENT] = contents.answers.to_parquet()
    alone = {"run_conf.json": run_conf.model_dump_json(indent=2)} if run_conf else {}
    alone |= plots(contents)
    files[RESULTS] = _archive({**files, **{name: text.encode() for name, text in alone.items()}})
    for name, body in files.items():
        kind = CONTENT_TYPES[PurePosixPath(name).suffix]
        s3.put_object(Bucket=settings.output_bucket, Key=f"{prefix}{name}", Body=body, ContentType=kind)
    return uri


def _archive(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz of the report's files, without times, so that the same files give the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return packed.getvalue()


def _metrics(contents: ReportContents) -> dict[str, Any]:
    return {
        "dataset": contents.dataset.name,
        "dataset_version": contents.dataset.version,
        **(_of_training(contents.trained) if contents.trained else {}),
        **(contents.served.facts() if contents.served else {}),
        "sent": _sent(contents),
        **contents.measurement.figures(),
        **contents.measurement.certainty(),
        "epochs": {name: [epoch.model_dump(mode="json") for epoch in epochs] for name, epochs in contents.curves},
    }


def _sent(contents: ReportContents) -> dict[str, Any]:
    dataset, unsent = contents.dataset, [image.model_dump() for image in contents.unsent]
    if contents.answers.sent == "source":
        return {"images": "source images, as they are in S3", "kind": "source", "unsent": unsent}
    packing = dataset.packing.as_dict()
    prefix = dataset.layout.test_images_uri
    return {"images": "packed test images", "kind": "packed", "prefix": prefix, "packing": packing, "unsent": unsent}


def _of_training(trained: TrainedModel) -> dict[str, Any]:
    return {
        "job": trained.job.name,
        "role": trained.job.role,
        "base_job": trained.best.job,
        "model": trained.job.artifact,
        "objective": str(trained.job.objective),
        "value": trained.job.value,
        "kept_epoch": trained.job.kept_epoch,
    }


def _of_diagnostics(trained: TrainedModel, traces: JobTraces) -> dict[str, str]:
    """The findings for machines, and the page of the profile."""
    job = trained.job
    document = {
        "job": job.name,
        "findings": [one.finding.model_dump() for one in trained.diagnoses],
        "profile": profile_of(traces).model_dump(),
        "missing": traces.missing,
    }
    machine = f"{job.instance_count} {job.instance_type or 'machine of unknown type'}"
    return {DIAGNOSTICS: _json(document), PAGE: profile_page(traces, job=job.name, machine=machine)}


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def confusion_csv(measured: Measurement, labels: Sequence[str]) -> str:
    """The confusion matrix as CSV: a row for each expected class; of a multi-label dataset a row of counts."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if measured.confusion.ndim == 2:
        writer.writerow(["expected", *labels])
        writer.writerows([label, *row.tolist()] for label, row in zip(labels, measured.confusion, strict=True))
    else:
        writer.writerow(["class", "true_negatives", "false_positives", "false_negatives", "true_positives"])
        writer.writerows(
            [label, *cells.ravel().tolist()] for label, cells in zip(labels, measured.confusion, strict=True)
        )
    return text.getvalue()


def classes_csv(measured: Measurement) -> str:
    """All figures of the classes as CSV, a row for each in class order: success beside the size of the class."""
    rows = []
    for number, (label, score) in enumerate(measured.classes.items()):
        figures = score.model_dump(exclude={"precision_interval", "recall_interval"})
        for name, interval in (("precision", score.precision_interval), ("recall", score.recall_interval)):
            figures |= {f"{name}_low": interval and interval.low, f"{name}_high": interval and interval.high}
        rows.append({"index": number, "class": label, **figures})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

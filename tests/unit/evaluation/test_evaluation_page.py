"""The page of an evaluated model, as far as one run of `evaluate` does not show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from include.evaluation.comparison import compare
from include.evaluation.evaluation_page import ComparedChampion, ReportContents, TrainedModel, evaluation_page
from include.evaluation.held_out_answers import HeldOutAnswers
from include.evaluation.leaderboard import Leaderboard, LeaderboardJob
from include.evaluation.metrics import Measurement, measure
from include.pages import NO_PAGES, WebPages
from include.sagemaker.epochs import EpochMetrics
from include.sagemaker.job_results import JobResult, Part
from include.training.best_model import BestModel
from tests.support.documents import BEST_MODEL, dataset_version, described_training_job
from tests.unit.evaluation.answered import LABELS, multi, single
from tests.unit.pages.reading import ReadPage


def measured(answers: HeldOutAnswers) -> Measurement:
    truth = answers.truth if answers.multi_label else answers.truth[:, None]
    sizes = dict.fromkeys(answers.labels, 26)
    return measure(truth, answers.probabilities, answers.labels, multi_label=answers.multi_label, training_images=sizes)


def page_of(answers: HeldOutAnswers, champion: HeldOutAnswers | None = None, **changes: Any) -> str:
    return ReadPage(html_of(answers, champion, **changes)).text


def html_of(
    answers: HeldOutAnswers,
    champion: HeldOutAnswers | None = None,
    web_pages: WebPages = NO_PAGES,
    leaderboard: Leaderboard | None = None,
    trained: TrainedModel | None = None,
    **changes: Any,
) -> str:
    contents = ReportContents(
        dataset=dataset_version(labels=list(answers.labels), multi_label=answers.multi_label),
        answers=answers,
        measurement=measured(answers),
        trained=trained
        or TrainedModel(
            job=JobResult.of_training_job(described_training_job()),
            best=BestModel.model_validate(BEST_MODEL),
            job_epochs=[],
            base_epochs=[],
            leaderboard=leaderboard,
        ),
        mistakes=[],
        right=[],
        champion=ComparedChampion(champion, measured(champion), compare(champion, answers)) if champion else None,
        **changes,
    )
    return evaluation_page(contents, folder="s3://models-of-acme/reports/run/", run_id="run", web_pages=web_pages)


def after(text: str, title: str) -> list[str]:
    return [line for line in text[text.index(f"\n{title}\n") :].split("\n") if line][1:]


def test_figures_stand_beside_those_of_the_champion() -> None:
    text = page_of(single("ccddo", "ccddd"), single("ccddd", "ccddd"))
    head = ["figure", "this model", "95 % interval", "champion", "95 % interval"]
    row = ["accuracy", "80.00%", "37.6%\u00a0to\u00a096.4%", "100.00%", "56.6%\u00a0to\u00a0100.0%"]
    assert after(text, "Figures")[:10] == head + row


def test_a_comparison_shows_pairs_and_the_classes_that_got_worse() -> None:
    text = page_of(single("ccddo", "ccddd"), single("ccddd", "ccddd"))
    for name, count in (("both right", "4"), ("only the champion right", "1"), ("only the challenger right", "0")):
        assert after(text, name)[0] == count
    assert after(text, "may\u00a0be\u00a0chance")
    assert after(text, "dog")[:3] == ["3", "100.0%", "66.7%"]
    alike = page_of(single("ccddo", "ccddd"), single("ccddo", "ccddd"))
    assert "None: the challenger answers at least as many images of each class rightly." in alike


def epochs(*accuracies: float) -> tuple[EpochMetrics, ...]:
    return tuple(
        EpochMetrics(epoch=epoch, metrics={"validation:accuracy": accuracy})
        for epoch, accuracy in enumerate(accuracies)
    )


@pytest.mark.parametrize("drawn", [{"base", "incremental"}, {"base"}, {"incremental"}, set()])
def test_a_report_draws_the_curve_of_a_job_once(drawn: set[Part]) -> None:
    curves = {"base": epochs(0.25, 0.5), "incremental": epochs(0.625, 0.75)}
    jobs = [
        LeaderboardJob(
            place=None,
            job=f"{part}-job",
            part=part,
            status="Completed",
            objective=None,
            hyperparameters={},
            metrics={},
            epochs=curves[part],
        )
        for part in sorted(drawn)
    ]
    trained = TrainedModel(
        job=JobResult.of_training_job(described_training_job("incremental-job")),
        best=BestModel.model_validate(BEST_MODEL),
        job_epochs=curves["incremental"],
        base_epochs=curves["base"],
        leaderboard=Leaderboard(
            objective="validation:accuracy", best="base-job", billable_seconds=0, cost=None, jobs=tuple(jobs)
        ),
    )

    html = html_of(single("cdo", "cdo"), trained=trained)
    assert [html.count(f"epoch 1: {first}</title>") for first in ("0.2500", "0.6250")] == [1, 1]


def test_the_page_leads_to_dataset_job_model_leaderboard_and_run() -> None:
    pages = WebPages(
        run="https://airflow/runs/run",
        job=lambda name: f"https://console/jobs/{name}",
        stored=lambda uri: uri.replace("s3://", "https://console/"),
    )
    job = JobResult.of_training_job(described_training_job())
    board = Leaderboard(objective="validation:accuracy", best=job.name, billable_seconds=0, cost=None, jobs=())
    version = dataset_version()
    assert ReadPage(html_of(single("cdo", "cdo"), web_pages=pages, leaderboard=board)).addresses == [
        "https://airflow/runs/run",
        f"https://console/jobs/{job.name}",
        str(job.artifact).replace("s3://", "https://console/"),
        "https://console/models-of-acme/reports/run/leaderboard.html",
        version.uri.replace("s3://", "https://console/") + "report.html",
        "https://console/models-of-acme/reports/run/",
        "https://console/models-of-acme/reports/run/results.tar.gz",
    ]
    assert ReadPage(html_of(single("cdo", "cdo"))).addresses == []


def test_without_a_mistake_the_page_says_so() -> None:
    assert "None: every held-out image was answered rightly." in page_of(single("cdo", "cdo"))


def test_of_many_classes_the_most_frequent_confusions_are_listed() -> None:
    classes, images = 60, 120
    truth = np.arange(images) % classes
    said = np.zeros((images, classes))
    said[np.arange(images), np.where(truth == 7, 9, truth)] = 1
    rows = [(place, f"{place}.jpg", (int(label),)) for place, label in enumerate(truth)]
    labels = [f"class {number}" for number in range(classes)]
    answers = HeldOutAnswers.of(rows, said.tolist(), model="job", dataset="s3://x/", labels=labels, multi_label=False)
    text = page_of(answers)
    assert after(text, "of the class")[:4] == ["class 7", "class 9", "2", "100.0%"]
    assert "the whole matrix of 60 classes is in confusion_matrix.csv" in text


def test_a_multi_label_page_has_best_thresholds_and_exact_matches() -> None:
    truth = [(1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 0, 0)]
    text = page_of(multi([[0.9, 0.2, 0.4], [0.1, 0.8, 0.3], [0.4, 0.6, 0.2], [0.3, 0.1, 0.1]], truth))
    assert after(text, "every label of an image right")[0] == "50.00%"
    assert "1.0000\u00a0(0.4000)" in text
    assert LABELS[0] in text

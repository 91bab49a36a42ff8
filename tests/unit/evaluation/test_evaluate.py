from __future__ import annotations

import io
import json
import re
import tarfile
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest

from include.datasets.image_objects import record_id_of, write_packed_test_images
from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion, learned_test_images, manifest_of_test_images
from include.evaluation.comparison import Comparison, Pairs, PromotionRule
from include.evaluation.evaluate import ChampionAnswers, evaluate
from include.evaluation.held_out_answers import HeldOutAnswers, is_kept, keep, kept_at
from include.evaluation.leaderboard import read_leaderboard
from include.evaluation.metrics import Evaluation
from include.evaluation.prediction import TransformError, write_manifest
from include.run_conf import DatasetConf, RunConf, SplitConf
from include.sagemaker.api import TRAINING_LOGS
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run
from include.training.best_model import BestModel
from include.training.run_jobs import RunJob
from tests.support.documents import described_training_job, settings
from tests.unit.evaluation.conftest import classify
from tests.unit.pages.reading import ReadPage

RUN = Run("image_classification", "manual__2026-01-02")
BEST = BestModel(
    job="base-job",
    objective="validation:accuracy",
    value=0.5,
    artifact="s3://models-of-acme/jobs/base-job/output/model.tar.gz",
    hyperparameters={},
)
CHANNELS = [{"ChannelName": name, "DataSource": {}} for name in ("train", "model")]


def logs_of(world: Any) -> Any:
    """The client of the logs, with the group of training jobs; the worlds of one process share it."""
    logs = world.client("logs")
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=TRAINING_LOGS)
    return logs


def write_epochs(logs: Any, job: str, accuracies: list[float]) -> None:
    logs.create_log_stream(logGroupName=TRAINING_LOGS, logStreamName=f"{job}/algo-1")
    events = [
        {"timestamp": int(time.time() * 1000), "message": f"Epoch[{epoch}] Validation-accuracy={accuracy}"}
        for epoch, accuracy in enumerate(accuracies)
    ]
    logs.put_log_events(logGroupName=TRAINING_LOGS, logStreamName=f"{job}/algo-1", logEvents=events)


def answer_the_transform(world: Any, job: str, mistakes: dict[int, float]) -> None:
    """The output of a transform job of a good model; `mistakes` are how sure it is of wrong answers, by place."""
    images = write_packed_test_images(world.s3, world.dataset)
    write_manifest(world.s3, images, settings=settings(), job=job)
    for place, uri in enumerate(images.uris):
        answer = classify(world.read(uri))
        if place in mistakes:
            wrong = (answer.index(max(answer)) + 1) % len(answer)
            rest = (1 - mistakes[place]) / (len(answer) - 1)
            answer = [mistakes[place] if number == wrong else rest for number in range(len(answer))]
        key = f"transform/{job}/answers/{uri.rpartition('/')[2]}.out"
        world.s3.put_object(Bucket="models-of-acme", Key=key, Body=json.dumps(answer).encode())


@pytest.fixture(scope="module")
def evaluation(world: Any) -> Evaluation:
    """An evaluation of a model that is wrong about one image."""
    logs = logs_of(world)
    write_epochs(logs, "base-job", [0.25, 0.5, 0.375])
    write_epochs(logs, "next-job", [0.75, 0.875])
    answer_the_transform(world, "transform-1", {0: 0.7})
    best = BEST
    base = JobResult.of_training_job(described_training_job())
    lost = base.model_copy(
        update={"name": "lost-job", "status": "Failed", "failure_reason": "<script>alert(1)</script>"}
    )
    jobs = [RunJob(base, "base"), RunJob(lost, "base")]
    return evaluate(
        world.s3,
        logs,
        job=JobResult.of_training_job(described_training_job("next-job", InputDataConfig=CHANNELS)),
        best=best,
        transform_job="transform-1",
        dataset=world.dataset,
        settings=settings(),
        run=RUN,
        leaderboard=read_leaderboard(logs, jobs, best=best, final="next-job", prices={}),
        run_conf=RunConf.from_conf({"dataset.name": "shades"}),
    )


PLOTS = [f"plots/{name}.svg" for name in ("success_by_class", "calibration", "validation_accuracy")]
NEXT_RUN = Run("retrain_on_new_images", "scheduled__2026-01-03")


@pytest.fixture(scope="module")
def challenger(world: Any, evaluation: Evaluation) -> Evaluation:
    """A model that is wrong about two other images, one of which is new to the champion."""
    answer_the_transform(world, "transform-2", {1: 0.8, 2: 0.9})
    images = write_packed_test_images(world.s3, world.dataset)
    return evaluate(
        world.s3,
        world.client("logs"),
        job=JobResult.of_training_job(described_training_job("third-job", InputDataConfig=CHANNELS)),
        best=BEST,
        transform_job="transform-2",
        dataset=world.dataset,
        settings=settings(),
        run=NEXT_RUN,
        champion=ChampionAnswers(evaluation.predictions_uri, first_new_record=record_id_of(images.uris[2])),
    )


def test_the_evaluation_says_how_good_the_model_is_and_where_to_read_more(world: Any, evaluation: Evaluation) -> None:
    images = world.dataset.counts.test
    assert (evaluation.job, evaluation.images) == ("next-job", images)
    assert evaluation.accuracy == pytest.approx((images - 1) / images)
    assert list(evaluation.classes) == world.dataset.labels
    assert evaluation.report_uri == f"s3://models-of-acme/reports/{RUN.name}/report.html"


def test_the_report_says_what_was_sent(world: Any, evaluation: Evaluation) -> None:
    where = f"{world.dataset.uri}images/test/"
    sent = json.loads(world.read(evaluation.metrics_uri))["sent"]
    assert (sent["images"], sent["prefix"]) == ("packed test images", where)
    assert sent["packing"] == world.dataset.packing.as_dict()
    page = world.read(evaluation.report_uri).decode()
    assert f"each test image as it is packed (JPEG of quality 95), from {where}." in page


def test_answers_for_other_images_than_those_of_the_version_are_refused(world: Any) -> None:
    images = write_packed_test_images(world.s3, world.dataset)
    write_manifest(world.s3, replace(images, names=images.names[1:]), settings=settings(), job="fewer")
    for name in images.names:
        key = f"transform/fewer/answers/{name}.out"
        world.s3.put_object(Bucket="models-of-acme", Key=key, Body=json.dumps([0.1, 0.2, 0.7]).encode())
    with pytest.raises(TransformError, match=r"Transform job fewer was not of dataset version s3://.*: it measured"):
        evaluate(
            world.s3,
            world.client("logs"),
            job=JobResult.of_training_job(described_training_job("next-job", InputDataConfig=CHANNELS)),
            best=BEST,
            transform_job="fewer",
            dataset=world.dataset,
            settings=settings(),
            run=RUN,
        )


def test_the_figures_are_kept_for_machines(world: Any, evaluation: Evaluation) -> None:
    metrics = json.loads(world.read(evaluation.metrics_uri))
    assert metrics["accuracy"] == evaluation.accuracy
    assert (metrics["value"], metrics["kept_epoch"]) == (0.875, 2)
    assert (metrics["base_job"], metrics["job"], metrics["role"]) == ("base-job", "next-job", "incremental")
    assert [epoch["metrics"] for epoch in metrics["epochs"]["incremental next-job"]] == [
        {"validation:accuracy": 0.75},
        {"validation:accuracy": 0.875},
    ]
    folder = evaluation.metrics_uri.removesuffix("metrics.json")
    assert "macro avg" in json.loads(world.read(f"{folder}classification_report.json"))
    assert world.read(f"{folder}confusion_matrix.csv").decode().startswith("expected,<b>dark,grey,light\n")


def test_the_page_stands_alone_and_escapes_what_it_shows(world: Any, evaluation: Evaluation) -> None:
    page = world.read(evaluation.report_uri).decode()
    read = ReadPage(page)
    assert "script" not in read.tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;dark" in page
    assert all(source.startswith("data:image/jpeg;base64,") for source in read.addresses)
    assert len(read.addresses) == min(12, evaluation.images)


def test_the_page_shows_base_against_incremental(world: Any, evaluation: Evaluation) -> None:
    page = world.read(evaluation.report_uri).decode()
    first_epochs = page[page.index("First epoch: base against incremental") :]
    rows = re.findall(r"<tr><td>(\w+ [\w-]+)</td><td>([\d.%]+)</td><td>([^<]+)</td></tr>", first_epochs)
    assert rows[:2] == [
        ("base base-job", "25.00%", "50.00%, epoch 2"),
        ("incremental next-job", "75.00%", "87.50%, epoch 2"),
    ]
    # Both, the base job among its trials; the model's own once more among the diagnostics.
    assert page.count("<polyline") == 3
    assert 'class="wrong"' in page


def folder_of(evaluation: Evaluation) -> str:
    return evaluation.metrics_uri.removesuffix("metrics.json")


def test_the_answers_are_kept_for_comparisons(world: Any, evaluation: Evaluation) -> None:
    answers = HeldOutAnswers.load(world.s3, evaluation.predictions_uri)
    assert (answers.model, answers.dataset) == ("next-job", world.dataset.uri)
    assert answers.right.tolist() == [False, *[True] * (evaluation.images - 1)]
    assert all(re.fullmatch(r"images/.+/\d\d\.jpg", key) for key in answers.keys)


def test_metrics_have_intervals_calibration_and_classes_with_their_size(world: Any, evaluation: Evaluation) -> None:
    metrics = json.loads(world.read(evaluation.metrics_uri))
    assert metrics["intervals"]["accuracy"] == evaluation.model_dump()["accuracy_interval"]
    assert sum(one["answers"] for one in metrics["calibration"]["bins"]) == evaluation.images
    sizes = {label: counts.train for label, counts in world.dataset.class_counts.items()}
    assert {label: score["training_images"] for label, score in metrics["classes"].items()} == sizes
    assert metrics["model"].endswith("/next-job/output/model.tar.gz")


def test_one_archive_holds_the_whole_report(world: Any, evaluation: Evaluation) -> None:
    with tarfile.open(fileobj=io.BytesIO(world.read(evaluation.results_uri))) as archive:
        held = {member.name: archive.extractfile(member) for member in archive}
        bodies = {name: file.read() for name, file in held.items() if file}
    assert set(bodies) == {
        "metrics.json",
        "classification_report.json",
        "confusion_matrix.csv",
        "classes.csv",
        "predictions.parquet",
        "run_conf.json",
        "report.html",
        "diagnostics.json",
        "profile.html",
        *PLOTS,
    }
    assert {ElementTree.fromstring(bodies.pop(plot)).tag for plot in PLOTS} == {"{http://www.w3.org/2000/svg}svg"}
    assert RunConf.model_validate_json(bodies.pop("run_conf.json")).dataset.name == "shades"
    assert all(world.read(f"{folder_of(evaluation)}{name}") == body for name, body in bodies.items())


def test_the_report_diagnoses_the_training_whatever_the_algorithm(world: Any, evaluation: Evaluation) -> None:
    found = json.loads(world.read(f"{folder_of(evaluation)}diagnostics.json"))
    status = {finding["rule"]: finding["status"] for finding in found["findings"]}
    page = ReadPage(world.read(evaluation.report_uri).decode())

    assert (status["Overtraining"], status["ClassImbalance"], status["DeadRelu"]) == ("fine", "fine", "unknown")
    assert "Diagnostics" in page.text
    assert f"{folder_of(evaluation)}profile.html" in page.text


def test_an_evaluation_without_a_champion_shows_no_comparison(world: Any, evaluation: Evaluation) -> None:
    assert "Champion and challenger" not in world.read(evaluation.report_uri).decode()


def test_a_champion_is_compared_on_the_same_images(world: Any, challenger: Evaluation) -> None:
    comparison = Comparison.model_validate_json(world.read(f"{folder_of(challenger)}comparison.json"))
    images = challenger.images
    assert (comparison.champion, comparison.challenger) == ("next-job", "third-job")
    assert comparison.all_images.pairs == Pairs(both_right=images - 3, only_champion=2, only_challenger=1, both_wrong=0)
    assert comparison.new_images is not None
    assert (comparison.new_images.images, comparison.new_images.pairs.only_champion) == (images - 2, 1)
    assert comparison.verdict is not None
    assert not comparison.verdict.accepted
    assert comparison.verdict.reason.startswith("Too far below the champion: its accuracy is ")


def test_the_page_begins_with_the_verdict_and_shows_both_answers(world: Any, challenger: Evaluation) -> None:
    page = world.read(challenger.report_uri).decode()
    text = ReadPage(page).text
    assert text.index("Refused") < text.index("Too far below the champion") < text.index("training + validation images")
    assert text.index("Champion and challenger") < text.index("Figures")
    mistakes = page[page.index("Worst mistakes") : page.index("Right answers")]
    said = re.findall(r"<b>[^<]+ ([\d.]+)%</b><br>is [^<]+<br>champion: [^<]+ [\d.]+%<small", mistakes)
    assert said == ["90.0", "80.0"], "the one that the model was surest of comes first"


def test_an_image_too_large_for_the_page_is_named(
    world: Any, challenger: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.evaluation.evaluate.LARGEST_EXAMPLE", 10)
    again = evaluate(
        world.s3,
        world.client("logs"),
        job=JobResult.of_training_job(described_training_job("third-job", InputDataConfig=CHANNELS)),
        best=BEST,
        transform_job="transform-2",
        dataset=world.dataset,
        settings=settings(),
        run=Run("train_model", "once"),
    )
    page = world.read(again.report_uri).decode()
    assert (page.count("too large for this page"), page.count("<img")) == (2, 0)
    with tarfile.open(fileobj=io.BytesIO(world.read(again.results_uri))) as archive:
        assert "run_conf.json" not in archive.getnames(), "none was given"


def test_of_many_mistakes_the_page_shows_the_surest(
    world: Any, challenger: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.evaluation.evaluate.MISTAKES", 1)
    again = evaluate(
        world.s3,
        world.client("logs"),
        job=JobResult.of_training_job(described_training_job("third-job", InputDataConfig=CHANNELS)),
        best=BEST,
        transform_job="transform-2",
        dataset=world.dataset,
        settings=settings(),
        run=Run("train_model", "twice"),
    )
    page = world.read(again.report_uri).decode()
    assert page.count('class="wrong"') == 1
    assert " 90.0%</b>" in page
    said = f"2 of {again.images} images were answered wrongly. These are the 1 that the model was most certain of"
    assert said in page


def test_answers_are_kept_by_model_and_version_and_used_instead_of_a_transform(
    world: Any, challenger: Evaluation
) -> None:
    job = JobResult.of_training_job(described_training_job("third-job", InputDataConfig=CHANNELS))
    kept = kept_at(settings(), world.dataset, job=job.name, artifact=str(job.artifact))
    other = kept_at(settings(), world.dataset, job=job.name, artifact="s3://models-of-others/model.tar.gz")
    assert kept.startswith(f"s3://models-of-acme/answers/shades/{world.dataset.version}/third-job-")
    assert (is_kept(world.s3, kept), is_kept(world.s3, other)) == (True, False)

    again = evaluate(
        world.s3,
        world.client("logs"),
        job=job,
        best=BEST,
        transform_job=None,
        dataset=world.dataset,
        settings=settings(),
        run=Run("train_model", "of_kept_answers"),
    )

    assert again.accuracy == challenger.accuracy
    assert world.read(again.predictions_uri) == world.read(challenger.predictions_uri)


def test_a_champion_that_answered_in_this_run_is_compared_and_its_answers_are_kept(world: Any) -> None:
    answer_the_transform(world, "transform-5", {})
    answer_the_transform(world, "transform-6", {0: 0.9})
    job = JobResult.of_training_job(described_training_job("fifth-job", InputDataConfig=CHANNELS))
    kept = kept_at(settings(), world.dataset, job="sixth-job", artifact="s3://models-of-acme/sixth/model.tar.gz")

    measured = evaluate(
        world.s3,
        world.client("logs"),
        job=job,
        best=BEST,
        transform_job="transform-5",
        dataset=world.dataset,
        settings=settings(),
        run=Run("train_model", "beside_another"),
        champion=ChampionAnswers(kept, model="sixth-job", transform_job="transform-6"),
        rule=PromotionRule(compare="better"),
    )

    comparison = Comparison.model_validate_json(world.read(measured.comparison_uri))
    assert (comparison.champion, comparison.new_images) == ("sixth-job", None)
    assert comparison.all_images.pairs.only_challenger == 1
    assert comparison.verdict == measured.verdict
    assert measured.verdict is not None
    assert measured.verdict.reason.startswith("Not significantly better than the champion (p = 0.500, asked:")
    theirs = HeldOutAnswers.load(world.s3, kept)
    assert (theirs.model, theirs.right.sum()) == ("sixth-job", measured.images - 1)


def test_answers_that_are_kept_already_stay(world: Any, challenger: Evaluation) -> None:
    answers = HeldOutAnswers.load(world.s3, challenger.predictions_uri)
    place = kept_at(settings(), world.dataset, job="once", artifact="s3://models-of-acme/once/model.tar.gz")
    keep(world.s3, place, answers)

    keep(world.s3, place, answers.of_another("once more", answers.by_record()))

    assert HeldOutAnswers.load(world.s3, place).model == "third-job"


def test_an_evaluation_without_a_champion_has_a_verdict_too(world: Any, evaluation: Evaluation) -> None:
    images = world.dataset.counts.test
    assert evaluation.verdict is not None
    assert evaluation.verdict.reason.startswith(
        f"There is no champion to compare with. Its accuracy is {1 - 1 / images:.2%}"
    )
    assert (evaluation.comparison_uri, evaluation.verdict.accepted) == ("", True)
    assert "Accepted" in ReadPage(world.read(evaluation.report_uri).decode()).text


def another_split(world: Any, name: str, seed: int) -> DatasetVersion:
    """The same images in another version, which did not grow from the first and splits them by another seed."""
    plan = plan_version(
        world.s3,
        DatasetConf(name=name, split=SplitConf(train=0.4, validation=0.2, test=0.4, seed=seed)),
        data_bucket="images-of-acme",
        run_id=name,
        run_after=datetime(2026, 1, 3, tzinfo=UTC),
    )
    return publish_version(world.s3, plan, [pack_shard(world.s3, plan, shard) for shard in plan.shards])


def test_test_images_that_the_champion_was_trained_with_do_not_count(world: Any, evaluation: Evaluation) -> None:
    before = another_split(world, "shades-before", 5)
    learned = learned_test_images(world.s3, world.dataset, before.uri)
    held_out_before = set(manifest_of_test_images(world.s3, before, ["key"])["key"])
    mine = manifest_of_test_images(world.s3, world.dataset, ["record_id", "key"])
    assert learned == {record_id for record_id, key in zip(*mine.values(), strict=True) if key not in held_out_before}
    assert 0 < len(learned) < evaluation.images
    assert learned_test_images(world.s3, world.dataset, world.dataset.uri) == set()
    assert learned_test_images(world.s3, world.dataset, before.uri.replace("shades-before", "gone")) == set()

    measured = evaluate(
        world.s3,
        world.client("logs"),
        job=JobResult.of_training_job(described_training_job("next-job", InputDataConfig=CHANNELS)),
        best=BEST,
        transform_job="transform-1",
        dataset=world.dataset,
        settings=settings(),
        run=Run("train_model", "another_split"),
        champion=ChampionAnswers(evaluation.predictions_uri, learned_from=before.uri),
    )

    comparison = Comparison.model_validate_json(world.read(measured.comparison_uri))
    assert (comparison.left_out, comparison.all_images.images) == (len(learned), evaluation.images - len(learned))
    page = ReadPage(world.read(measured.report_uri).decode()).text
    assert f"{len(learned)} test images do not count: the champion has learned from them." in page


def test_a_model_beside_a_champion_that_has_learned_from_all_test_images_is_refused(
    world: Any, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = set(manifest_of_test_images(world.s3, world.dataset, ["record_id"])["record_id"])
    monkeypatch.setattr("include.evaluation.evaluate.learned_test_images", lambda *_: everything)

    measured = evaluate(
        world.s3,
        world.client("logs"),
        job=JobResult.of_training_job(described_training_job("next-job", InputDataConfig=CHANNELS)),
        best=BEST,
        transform_job="transform-1",
        dataset=world.dataset,
        settings=settings(),
        run=Run("train_model", "learned_all"),
        champion=ChampionAnswers(evaluation.predictions_uri, learned_from="s3://images-of-acme/datasets/all/1/"),
    )

    assert measured.verdict is not None
    assert not measured.verdict.accepted
    assert measured.verdict.reason.startswith(
        "It could not be compared with the champion: it has learned from all test"
    )
    assert measured.comparison_uri == ""

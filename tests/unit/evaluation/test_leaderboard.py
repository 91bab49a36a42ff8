"""How the jobs of a run compare, with their logs in a real log service."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.evaluation.leaderboard import (
    Leaderboard,
    final_job,
    leaderboard_page,
    load_leaderboard,
    read_leaderboard,
    write_leaderboard,
)
from include.sagemaker.api import TRAINING_LOGS
from include.sagemaker.epochs import EpochMetrics
from include.sagemaker.job_results import JobResult, Part
from include.sagemaker.naming import Run
from include.training.best_model import select_best
from include.training.run_jobs import MOST_LOGS, RunJob, with_epochs
from tests.support.documents import settings
from tests.unit.pages.reading import ReadPage

RUN = Run("train_model", "manual__2026-01-02")
TABLE = re.compile(r'<table class="?jobs"?>.*?</table>', re.DOTALL)
PRICES = {"ml.g4dn.xlarge": 0.72}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield lambda service: boto3.client(service, region_name="us-east-1")


def head(page: str) -> list[str]:
    """The names of the columns of a leaderboard."""
    found = TABLE.search(page)
    assert found
    return re.findall(r"<th(?: [^>]*)?>(.*?)</th>", found[0].replace("<wbr>", ""))


def rows(page: str) -> list[list[str]]:
    """The cells of a leaderboard's rows: their text, lines of a cell with ` | ` between them."""
    found = TABLE.search(page)
    assert found
    body = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr.*?</tr>", found[0])[1:]]
    return [[re.sub(r"<[^>]*>", "", cell.replace("<small>", " | ")) for cell in row] for row in body]


def marked(page: str) -> list[str]:
    """The jobs of the rows that stand out."""
    return [row.rpartition("<small>")[2] for row in re.findall(r"<tr class=best>.*?(<span.*?)</small></td>", page)]


@pytest.fixture
def logs(aws: Any) -> Any:
    client = aws("logs")
    client.create_log_group(logGroupName=TRAINING_LOGS)
    return client


def trained(
    logs: Any, name: str, accuracies: list[float], *, part: Part = "base", first_epoch: int = 0, **changes: Any
) -> RunJob:
    """A job whose log tells these validation accuracies, an epoch each."""
    logs.create_log_stream(logGroupName=TRAINING_LOGS, logStreamName=f"{name}/algo-1")
    moment = int(time.time() * 1000)
    events = [
        {"timestamp": moment, "message": f"Epoch[{epoch}] Validation-accuracy={accuracy}"}
        for epoch, accuracy in enumerate(accuracies, start=first_epoch)
    ]
    logs.put_log_events(logGroupName=TRAINING_LOGS, logStreamName=f"{name}/algo-1", logEvents=events)
    return RunJob(result(name, accuracies[-1], **changes), part, trial="deep" if part == "base" else "")


def result(name: str, accuracy: float, **changes: Any) -> JobResult:
    given: dict[str, Any] = {
        "name": name,
        "status": "Completed",
        "role": "base",
        "hyperparameters": {"num_layers": "20", "learning_rate": "0.05", "optimizer": "sgd"},
        "metrics": {"validation:accuracy": accuracy},
        "artifact": f"s3://models-of-acme/jobs/{name}/output/model.tar.gz",
        "dataset_uri": "s3://images-of-acme/datasets/pets/1/",
        "instance_type": "ml.g4dn.xlarge",
        "instance_count": 2,
        "training_seconds": 110,
        "billable_seconds": 100,
    }
    return JobResult.model_validate({**given, **changes}).with_epochs(())


def test_an_attempt_that_took_up_a_checkpoint_shows_the_epochs_of_the_one_before(logs: Any) -> None:
    failed = trained(logs, "resumed-1", [0.2, 0.9, 0.3], status="Failed")
    resumed = trained(logs, "resumed-2", [0.4, 0.5], first_epoch=2)
    trial = trained(logs, "trial-2", [0.6], first_epoch=1)

    board = read_leaderboard(logs, [failed, resumed, replace(trial, trial="another")], best=None, final=None, prices={})

    shown = {job.job: job for job in board.jobs}
    accuracies = [epoch.validation_accuracy for epoch in shown["resumed-2"].epochs]
    assert [epoch.epoch for epoch in shown["resumed-2"].epochs] == [0, 1, 2, 3]
    assert accuracies == [0.2, 0.9, 0.4, 0.5], "what the failed attempt did after the checkpoint is lost"
    assert (shown["resumed-2"].kept_epoch, shown["resumed-2"].objective) == (2, 0.9)
    assert [epoch.epoch for epoch in shown["resumed-1"].epochs] == [0, 1, 2]
    assert [epoch.epoch for epoch in shown["trial-2"].epochs] == [1], "another trial's epochs are not its own"


@pytest.fixture
def leaderboard(logs: Any) -> Leaderboard:
    """A base job, two tuned ones, one that failed, and an incremental one from the best."""
    slow = {"num_layers": "20", "learning_rate": "0.0001", "optimizer": "sgd"}
    other = {"num_layers": "20", "learning_rate": "0.02", "optimizer": "adam"}
    jobs = [
        trained(logs, "plain", [0.25, 0.5]),
        trained(logs, "tune-001", [0.1, 0.2], part="tuning", hyperparameters=slow),
        trained(logs, "tune-002", [0.5, 0.75], part="tuning", hyperparameters=other),
        RunJob(result("lost", 0.9, status="Failed", failure_reason="<script>"), "base", trial="wide"),
    ]
    best = select_best(with_epochs(logs, jobs)).best
    following = trained(logs, "next", [0.8, 0.9], part="incremental", role="incremental")
    return read_leaderboard(logs, [*jobs, following], best=best, final="next", prices=PRICES)


def test_the_best_job_stands_first_and_what_cannot_go_on_last(leaderboard: Leaderboard) -> None:
    assert [(job.place, job.job) for job in leaderboard.jobs] == [
        (1, "next"),
        (2, "tune-002"),
        (3, "plain"),
        (4, "tune-001"),
        (None, "lost"),
    ]
    assert leaderboard.best == "tune-002"
    assert leaderboard.jobs[-1].reason == "Failed: <script>"
    assert leaderboard.reason.startswith("the highest validation:accuracy: 0.7500")


def test_every_job_tells_its_epochs_and_what_it_cost(leaderboard: Leaderboard) -> None:
    plain = leaderboard.job("plain")
    assert plain is not None
    assert [epoch.validation_accuracy for epoch in plain.epochs] == [0.25, 0.5]
    assert (plain.part, plain.trial, plain.dataset) == ("base", "deep", "pets/1")
    assert (plain.seconds, plain.billable_seconds, plain.cost) == (110, 100, 0.04)  # 2 x 100 s x 0.72 USD an hour
    assert (leaderboard.billable_seconds, leaderboard.cost) == (1000, 0.2)


def test_without_a_price_the_cost_is_left_open(logs: Any) -> None:
    alone = read_leaderboard(logs, [RunJob(result("plain", 0.5), "base")], best=None, final=None, prices={})
    assert (alone.cost, alone.jobs[0].cost, alone.billable_seconds) == (None, None, 200)


def test_base_against_incremental_is_told_at_the_first_epoch(leaderboard: Leaderboard) -> None:
    assert [*leaderboard.first_epochs()] == [
        "Validation accuracy after the first epoch: incremental next 0.8000, tuning tune-002 0.5000."
    ]


def test_the_model_of_an_earlier_run_is_compared_and_costs_this_one_nothing(logs: Any) -> None:
    parent = trained(logs, "earlier", [0.3, 0.6], part="parent")
    following = trained(logs, "next", [0.7], part="incremental")
    best = select_best(with_epochs(logs, [parent])).best.model_copy(update={"reason": ""})
    board = read_leaderboard(logs, [parent, following], best=best, final="next", prices=PRICES)

    assert board.billable_seconds == 200
    assert "parent earlier 0.3000" in next(board.first_epochs())
    page = leaderboard_page(board, RUN)
    assert "champion" not in page
    assert "parent was selected: the model of an earlier run." in page
    assert "incremental trained it further: its model is the final one." in page


def test_a_job_is_compared_by_the_weights_it_kept(logs: Any) -> None:
    wavy = trained(logs, "wavy", [0.5, 0.5, 0.8, 0.2, 1.0, 0.6])
    steady = trained(logs, "steady", [0.5, 0.9])
    frequent = trained(logs, "frequent", [0.99, 0.1], hyperparameters={"checkpoint_frequency": "1"})

    board = read_leaderboard(logs, [steady, frequent, wavy], best=None, final=None, prices={})

    assert [(job.job, job.objective, job.kept_epoch) for job in board.jobs] == [
        ("wavy", 1.0, 5),
        ("steady", 0.9, 2),
        ("frequent", 0.1, 2),
    ]
    assert board.jobs[0].metrics == {"validation:accuracy": 0.6}
    assert rows(leaderboard_page(board, RUN))[0][1:3] == ["1.0000", "5 of 6"]


def test_a_value_that_no_log_confirms_is_marked(logs: Any) -> None:
    board = read_leaderboard(logs, [RunJob(result("plain", 0.5), "base")], best=None, final=None, prices={})
    assert "the last value that AWS reports" in leaderboard_page(board, RUN)


@pytest.mark.parametrize(("further", "final", "reached"), [([0.8, 0.95], "next", 0.95), ([0.2, 0.3], "base", 0.48)])
def test_headline_and_marked_row_are_the_model_the_run_ends_with(
    logs: Any, further: list[float], final: str, reached: float
) -> None:
    base = trained(logs, "base", [0.48])
    best = select_best([base]).best
    following = trained(logs, "next", further, part="incremental", role="incremental")
    jobs = [base, following]

    page = leaderboard_page(
        read_leaderboard(logs, jobs, best=best, final=final_job(jobs, best, trains_further=True), prices={}), RUN
    )
    alone = leaderboard_page(
        read_leaderboard(logs, [base], best=best, final=final_job([base], best, trains_further=False), prices={}), RUN
    )

    assert f"<title>2 training jobs, the final model {reached:.2%}</title>" in page
    assert marked(page) == [final]
    assert "<title>1 training jobs, the final model 48.00%</title>" in alone
    assert marked(alone) == ["base"]


def test_a_run_whose_further_training_made_the_model_worse_ends_with_the_selected_one(logs: Any) -> None:
    base, worse = trained(logs, "base", [0.8]), trained(logs, "next", [0.5], part="incremental", role="incremental")
    best, jobs = select_best([base]).best, [base, worse]

    final = final_job(jobs, best, trains_further=True)
    board = read_leaderboard(logs, jobs, best=best, final=final, prices={})

    assert final == "base"
    assert board.kept_base == (
        "next trained the selected model further and reached 0.5000, which is worse than 0.8000: the selected model is "
        "the final one."
    )
    told = "incremental trained the selected model further and reached 0.5000, which is worse than 0.8000"
    assert told in ReadPage(leaderboard_page(board, RUN)).text
    assert board.model_copy(update={"final": "next"}).kept_base == ""


def test_a_run_whose_further_training_failed_ends_with_no_model(logs: Any) -> None:
    base = trained(logs, "base", [0.48])
    best = select_best([base]).best
    lost = RunJob(result("next", 0.9, status="Failed", role="incremental"), "incremental")
    retried = trained(logs, "next-2", [0.9], part="incremental", role="incremental")

    assert final_job([base], best, trains_further=True) is None
    assert final_job([base, lost], best, trains_further=True) is None
    assert final_job([base, lost, retried], best, trains_further=True) == "next-2"
    assert final_job([base, retried], None, trains_further=True) is None
    page = leaderboard_page(read_leaderboard(logs, [base, lost], best=best, final=None, prices={}), RUN)
    assert "no final model: the incremental training left none" in page
    assert "<tr class=best>" not in page


def test_a_run_without_a_usable_job_has_a_leaderboard_too(logs: Any) -> None:
    lost = RunJob(result("lost", 0.9, status="Stopped"), "base")
    board = read_leaderboard(logs, [lost], best=None, final=None, prices={})
    assert "no model was selected" in leaderboard_page(board, RUN)
    assert [*board.first_epochs()] == []


def test_of_many_jobs_the_logs_of_the_best_are_read(monkeypatch: pytest.MonkeyPatch, logs: Any) -> None:
    asked: list[str] = []
    monkeypatch.setattr("include.sagemaker.epochs.read_epochs", lambda _, job: asked.append(job) or [])
    jobs = [RunJob(result(f"tune-{number:03d}", number / 1000), "tuning") for number in range(750)]
    jobs.append(RunJob(result("plain", 0.0), "base"))

    board = read_leaderboard(logs, jobs, best=None, final=None, prices={})

    assert len(board.jobs) == 751
    assert sorted(asked) == ["plain", *(f"tune-{number:03d}" for number in range(750 - MOST_LOGS + 1, 750))]
    assert len(leaderboard_page(board, RUN)) < 2_000_000


def test_it_lies_beside_the_report_as_json_and_as_a_page(aws: Any, leaderboard: Leaderboard) -> None:
    s3 = aws("s3")
    s3.create_bucket(Bucket="models-of-acme")

    uri = write_leaderboard(s3, leaderboard, settings=settings(), run=RUN)

    assert uri == f"s3://models-of-acme/reports/{RUN.name}/leaderboard.json"
    assert load_leaderboard(s3, uri) == leaderboard
    kept = s3.get_object(Bucket="models-of-acme", Key=f"reports/{RUN.name}/leaderboard.json")["Body"].read()
    assert json.loads(kept)["jobs"][0]["job"] == "next"
    page = s3.get_object(Bucket="models-of-acme", Key=f"reports/{RUN.name}/leaderboard.html")["Body"].read().decode()
    assert "script" not in ReadPage(page).tags


def test_the_page_shows_the_rules_of_debugger(logs: Any) -> None:
    rules = [{"rule": "Overfit", "status": "IssuesFound", "details": "<at step 40>"}]
    jobs = [trained(logs, "watched", [0.5], rules=rules), trained(logs, "unwatched", [0.4])]

    page = leaderboard_page(read_leaderboard(logs, jobs, best=None, final=None, prices={}), RUN)
    without = leaderboard_page(read_leaderboard(logs, jobs[1:], best=None, final=None, prices={}), RUN)

    assert "<td>base deep 2</td><td>Overfit</td><td>IssuesFound</td><td>&lt;at step 40&gt;</td>" in page
    assert "Debugger" not in without


def test_the_page_shows_jobs_curves_and_tuned_hyperparameters(leaderboard: Leaderboard) -> None:
    page = leaderboard_page(leaderboard, RUN)

    assert marked(page) == ["next"]
    assert rows(page)[0][:3] == ["incremental | final model | next", "0.9000", "2 of 2"]
    assert page.count("<polyline") == 4
    assert {"learning_rate", "optimizer"} == set(re.findall(r"<h3>(\w+)</h3>", page))
    assert "All of them: num_layers 20." in page
    assert "<title>tuning 2: adam, 0.7500</title>" in page
    assert head(page) == [
        "job",
        "validation:accuracy",
        "epoch kept",
        "learning_rate",
        "optimizer",
        "seconds",
        "billed",
        "USD",
    ]


def test_every_job_has_a_short_name_and_a_colour_of_its_own_wherever_it_is_drawn(logs: Any) -> None:
    jobs = [
        RunJob(result(f"tune-{number:03d}", number / 100, hyperparameters={"lr": f"0.{number}"}), "tuning")
        for number in range(1, 41)
    ]
    page = leaderboard_page(read_leaderboard(logs, jobs, best=None, final=None, prices={}), RUN)
    in_table = re.findall(r'<td data-name="job"><span ([^>]*)>(tuning \d+)</span>', page)
    in_plot = re.findall(r"<circle (class=.*?) cx=.*?<title>(tuning \d+):", page)

    assert len(dict(in_table)) == len({name for _, name in in_table}) == 40
    assert {(attributes.replace("key ", ""), name) for attributes, name in in_table} == set(in_plot)


def test_no_column_stands_twice_and_none_is_empty(logs: Any) -> None:
    sent = {"hyperparameters": {"epochs": "2", "num_training_samples": "90"}}
    same = [
        trained(logs, "a", [0.5, 0.6], billable_seconds=110),
        trained(logs, "b", [0.5], billable_seconds=110, **sent),
    ]
    page = leaderboard_page(read_leaderboard(logs, same, best=None, final=None, prices={}), RUN)

    columns = ["epochs", "learning_rate", "num_layers", "optimizer"]
    assert head(page) == ["job", "validation:accuracy", "epoch kept", *columns, "seconds"]


def test_many_hyperparameters_stand_in_one_column_so_that_all_is_within_the_page(logs: Any) -> None:
    names = [f"name_{letter}" for letter in "abcdefgh"]
    jobs = [
        trained(logs, job, [0.5], hyperparameters=dict.fromkeys(names, value))
        for job, value in (("one", "0.123456789"), ("two", "<2>"))
    ]
    page = leaderboard_page(read_leaderboard(logs, jobs, best=None, final=None, prices=PRICES), RUN)

    assert head(page) == ["job", "validation:accuracy", "epoch kept", "hyperparameters", "seconds", "billed", "USD"]
    assert {row[3] for row in rows(page)} == {
        ", ".join(f"{name} {value}" for name in names) for value in ("0.1235", "&lt;2&gt;")
    }


def test_jobs_of_a_script_are_ranked_by_their_loss_and_shown_without_the_quotes_of_json() -> None:
    loss = {"objective": "Minimize validation:loss", "algorithm": "script", "status": "Completed", "role": "base"}
    jobs = [
        RunJob(
            JobResult.model_validate(
                {**loss, "name": name, "value": value, "artifact": "s3://m", "hyperparameters": {"network": network}}
            ),
            "base",
            epochs=(EpochMetrics(epoch=0, metrics={"validation:loss": value}),),
        )
        for name, value, network in (("first", 0.5, '"resnet18"'), ("second", 1.25, '"resnet34"'))
    ]
    board = read_leaderboard(None, jobs, best=None, final="first", prices={})  # type: ignore[arg-type]

    assert [(job.job, job.place) for job in board.jobs] == [("first", 1), ("second", 2)]
    assert [job.hyperparameters["network"] for job in board.jobs] == ["resnet18", "resnet34"]
    page = leaderboard_page(board, Run("d", "r"))
    assert "validation:loss of the final model" in page
    assert "Minimize" not in page
    assert Leaderboard.model_validate_json(board.model_dump_json()) == board

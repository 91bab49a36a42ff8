from __future__ import annotations

import time
from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from include.sagemaker.api import TRAINING_LOGS
from include.sagemaker.epochs import (
    EpochMetrics,
    KeptWeights,
    epochs_of_jobs,
    first_epoch_accuracy,
    kept_weights,
    parse_epochs,
    read_epochs,
)

PREFIX = "[01/02/2026 03:04:05 INFO 140413]"
LINES = [
    "Docker entrypoint called with argument(s): train",
    f"{PREFIX} Epoch[0] Batch [20]#011Speed: 111.811 samples/sec#011accuracy=0.452976",
    f"{PREFIX} Epoch[0] Train-accuracy=0.150391",
    f"{PREFIX} Epoch[0] Train-top_k_accuracy_2=0.250000",
    f"{PREFIX} Epoch[0] Time cost=8.095",
    f"{PREFIX} Epoch[0] Validation-accuracy=0.253906",
    f"{PREFIX} Storing the best model with validation accuracy: 0.253906",
    f"{PREFIX} Epoch[1] Train-accuracy=0.5",
    f"{PREFIX} Epoch[1] Time cost=7",
    f"{PREFIX} Epoch[1] Validation-accuracy=1e-05",
]


def test_the_log_tells_every_epoch() -> None:
    first, second = parse_epochs(LINES)
    assert first.metrics == {
        "train:accuracy": 0.150391,
        "train:top_k_accuracy_2": 0.25,
        "validation:accuracy": 0.253906,
    }
    assert (first.epoch, first.seconds, first.validation_accuracy) == (0, 8.095, 0.253906)
    assert (second.epoch, second.seconds, second.validation_accuracy) == (1, 7.0, 1e-05)


def test_the_loss_of_an_epoch_is_read_where_an_algorithm_prints_it() -> None:
    """As algorithms/pytorch does."""
    lines = [
        f"{PREFIX} Epoch[0] Speed: 412.3 images/s, 3 % of the time waiting for images",
        f"{PREFIX} Epoch[0] Train-loss=0.714617",
        f"{PREFIX} Epoch[0] Train-accuracy=0.764844",
        f"{PREFIX} Epoch[0] Time cost=20.160",
        f"{PREFIX} Epoch[0] Validation-loss=0.304867",
        f"{PREFIX} Epoch[0] Validation-accuracy=0.932000",
    ]
    (epoch,) = parse_epochs(lines)

    assert epoch.metrics == {
        "train:loss": 0.714617,
        "train:accuracy": 0.764844,
        "validation:loss": 0.304867,
        "validation:accuracy": 0.932,
    }
    assert epoch.seconds == 20.16


def test_an_epoch_that_a_restarted_job_repeats_counts_once() -> None:
    repeated = [*LINES, f"{PREFIX} Epoch[1] Validation-accuracy=0.75"]
    assert [epoch.validation_accuracy for epoch in parse_epochs(repeated)] == [0.253906, 0.75]


def test_an_epoch_cut_off_has_no_validation_accuracy() -> None:
    assert parse_epochs([f"{PREFIX} Epoch[0] Train-accuracy=0.5"])[0].validation_accuracy is None


def test_what_a_restarted_job_had_reached_before_counts_no_more() -> None:
    first_life = [f"{PREFIX} Epoch[{epoch}] Validation-accuracy=0.{epoch}" for epoch in (4, 5, 6, 9)]
    second_life = [
        line
        for epoch in (4, 5)
        for line in (f"{PREFIX} Epoch[{epoch}] Train-accuracy=0.1", f"{PREFIX} Epoch[{epoch}] Validation-accuracy=0.2")
    ]
    cut_off = [f"{PREFIX} Epoch[6] Train-accuracy=0.9", f"{PREFIX} Epoch[6] Time cost=9"]

    told = parse_epochs([*first_life, *second_life[:2], *second_life, *cut_off])

    assert [(epoch.epoch, epoch.validation_accuracy) for epoch in told] == [(4, 0.2), (5, 0.2), (6, None)]


def test_the_first_epoch_is_that_of_the_job_and_not_of_its_log() -> None:
    assert first_epoch_accuracy(parse_epochs(LINES)) == 0.253906
    assert first_epoch_accuracy(parse_epochs(LINES[7:])) is None
    assert first_epoch_accuracy([]) is None


def reached(*accuracies: float) -> list[EpochMetrics]:
    """An epoch for each validation accuracy."""
    return [EpochMetrics(epoch=at, metrics={"validation:accuracy": value}) for at, value in enumerate(accuracies)]


UP_AND_DOWN = reached(0.4, 0.9, 0.7, 0.85, 0.9, 0.8)


@pytest.mark.parametrize(
    ("frequency", "completed", "kept"),
    [
        (None, True, KeptWeights(2, 0.9)),
        (None, False, KeptWeights(2, 0.9)),
        ("2", True, KeptWeights(6, 0.8)),
        ("4", True, KeptWeights(6, 0.8)),
        ("4", False, KeptWeights(4, 0.85)),
        ('"5"', False, KeptWeights(5, 0.9)),
        ("7", False, None),
    ],
)
def test_a_job_keeps_its_best_epoch_or_with_a_frequency_its_last(
    frequency: str | None, completed: bool, kept: KeptWeights | None
) -> None:
    sent = {"epochs": "6", **({"checkpoint_frequency": frequency} if frequency else {})}
    assert kept_weights(UP_AND_DOWN, sent, completed=completed) == kept


def test_a_log_that_lacks_lines_is_completed_by_what_aws_reports() -> None:
    frequent = {"checkpoint_frequency": "1"}

    assert kept_weights(reached(0.5, 0.75), {}, reported=0.95) == KeptWeights(None, 0.95)
    assert kept_weights(reached(0.5, 0.75), frequent, reported=0.25) == KeptWeights(None, 0.25)
    assert kept_weights([], {}, reported=0.95) == KeptWeights(None, 0.95)
    assert kept_weights([], {}, reported=float("nan")) is None
    assert kept_weights([], frequent) is None


def test_aws_tells_accuracies_in_single_precision() -> None:
    assert kept_weights(reached(0.1, 0.948718), {}, reported=0.9487180113792419) == KeptWeights(2, 0.948718)
    assert kept_weights(reached(0.1, 0.948718), {"checkpoint_frequency": "1"}, reported=0.9487180113792419) == (
        KeptWeights(2, 0.948718)
    )


@pytest.fixture
def logs() -> Iterator[object]:
    with mock_aws():
        client = boto3.client("logs", region_name="eu-central-1")
        client.create_log_group(logGroupName=TRAINING_LOGS)
        yield client


def write_log(logs, stream: str, lines: list[str]) -> None:
    logs.create_log_stream(logGroupName=TRAINING_LOGS, logStreamName=stream)
    for at in range(0, len(lines), 1000):
        events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines[at : at + 1000]]
        logs.put_log_events(logGroupName=TRAINING_LOGS, logStreamName=stream, logEvents=events)


def test_the_epochs_of_a_job_come_from_its_own_stream(logs) -> None:
    write_log(logs, "job-1/algo-1-1767323045", LINES)
    write_log(logs, "job-10/algo-1-1767323045", [f"{PREFIX} Epoch[0] Validation-accuracy=0.9"])
    assert len(read_epochs(logs, "job-1")) == 2
    assert read_epochs(logs, "job-1")[0].validation_accuracy == 0.253906


def test_of_several_machines_one_is_read(logs) -> None:
    write_log(logs, "job-1/algo-1-1767323045", LINES)
    write_log(logs, "job-1/algo-2-1767323045", [f"{PREFIX} Epoch[0] Validation-accuracy=0.1"])
    assert read_epochs(logs, "job-1")[0].validation_accuracy == 0.253906


def test_of_many_machines_the_first_that_logs_epochs_is_read(logs) -> None:
    for number in range(60, 1, -1):
        write_log(logs, f"job-1/algo-{number}-1767323045", [f"{PREFIX} Epoch[0] Validation-accuracy=0.{number}"])
    write_log(logs, "job-1/algo-1-1767323045", ["no epoch yet"])
    assert read_epochs(logs, "job-1")[0].validation_accuracy == 0.2


def test_a_machine_that_was_started_again_is_read_with_its_own_streams(logs) -> None:
    write_log(logs, "job-1/algo-1-1767323045", [f"{PREFIX} Epoch[0] Validation-accuracy=0.1"])
    write_log(logs, "job-1/algo-2-1767323045", [f"{PREFIX} Epoch[0] Validation-accuracy=0.2"])
    write_log(logs, "job-1/algo-1-1767329999", [f"{PREFIX} Epoch[1] Validation-accuracy=0.3"])
    write_log(logs, "job-1/algo-2-1767329999", [f"{PREFIX} Epoch[1] Validation-accuracy=0.4"])
    assert [epoch.validation_accuracy for epoch in read_epochs(logs, "job-1")] == [0.1, 0.3]


def test_a_log_that_cannot_be_read_hides_no_other(logs, monkeypatch, caplog) -> None:
    write_log(logs, "job-1/algo-1-1767323045", LINES)
    refused = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetLogEvents")
    real = logs.get_log_events

    def get_log_events(**asked):
        if asked["logStreamName"].startswith("job-2/"):
            raise refused
        return real(**asked)

    write_log(logs, "job-2/algo-1-1767323045", LINES)
    monkeypatch.setattr(logs, "get_log_events", get_log_events)

    epochs = epochs_of_jobs(logs, ["job-1", "job-2", "job-3"])

    assert {job: len(found) for job, found in epochs.items()} == {"job-1": 2, "job-2": 0, "job-3": 0}
    assert "The log of job-2 cannot be read" in caplog.text


def test_a_restarted_spot_job_is_read_from_its_first_start_on(logs) -> None:
    write_log(logs, "job-1/algo-1-1767323045", LINES)
    write_log(logs, "job-1/algo-1-1767329999", [f"{PREFIX} Epoch[2] Validation-accuracy=0.9"])
    assert [epoch.epoch for epoch in read_epochs(logs, "job-1")] == [0, 1, 2]


def test_a_log_longer_than_a_page_is_read_to_its_end(logs) -> None:
    filler = [f"line {number}" for number in range(12_000)]
    write_log(logs, "job-1/algo-1-1767323045", [*filler, *LINES])
    assert len(read_epochs(logs, "job-1")) == 2


def test_a_job_without_a_log_has_no_epochs(logs) -> None:
    assert read_epochs(logs, "job-1") == []
    logs.delete_log_group(logGroupName=TRAINING_LOGS)
    assert read_epochs(logs, "job-1") == []

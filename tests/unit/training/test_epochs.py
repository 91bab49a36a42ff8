from __future__ import annotations

import time
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from include.training.epochs import LOG_GROUP, parse_epochs, read_epochs

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


def test_an_epoch_that_a_restarted_job_repeats_counts_once() -> None:
    repeated = [*LINES, f"{PREFIX} Epoch[1] Validation-accuracy=0.75"]
    assert [epoch.validation_accuracy for epoch in parse_epochs(repeated)] == [0.253906, 0.75]


def test_an_epoch_cut_off_has_no_validation_accuracy() -> None:
    assert parse_epochs([f"{PREFIX} Epoch[0] Train-accuracy=0.5"])[0].validation_accuracy is None


@pytest.fixture
def logs() -> Iterator[object]:
    with mock_aws():
        client = boto3.client("logs", region_name="eu-central-1")
        client.create_log_group(logGroupName=LOG_GROUP)
        yield client


def write_log(logs, stream: str, lines: list[str]) -> None:
    logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=stream)
    for at in range(0, len(lines), 1000):
        events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines[at : at + 1000]]
        logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=stream, logEvents=events)


def test_the_epochs_of_a_job_come_from_its_own_stream(logs) -> None:
    write_log(logs, "job-1/algo-1-1767323045", LINES)
    write_log(logs, "job-10/algo-1-1767323045", [f"{PREFIX} Epoch[0] Validation-accuracy=0.9"])
    assert len(read_epochs(logs, "job-1")) == 2
    assert read_epochs(logs, "job-1")[0].validation_accuracy == 0.253906


def test_of_several_machines_one_is_read(logs) -> None:
    write_log(logs, "job-1/algo-1-1767323045", LINES)
    write_log(logs, "job-1/algo-2-1767323045", [f"{PREFIX} Epoch[0] Validation-accuracy=0.1"])
    assert read_epochs(logs, "job-1")[0].validation_accuracy == 0.253906


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
    logs.delete_log_group(logGroupName=LOG_GROUP)
    assert read_epochs(logs, "job-1") == []

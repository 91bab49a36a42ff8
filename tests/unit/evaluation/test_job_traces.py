from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.evaluation import job_traces
from include.evaluation.job_traces import NAMESPACE, JobTraces, read_traces, traces_of
from include.sagemaker.job_results import JobResult
from tests.support.documents import described_training_job

STEP = {"epoch": 0, "step": 1, "loss": 0.5, "data": 0.1, "forward": 0.2, "backward": 0.3, "update": 0.4}
GRADIENT = {"step": 3, "layer": "conv1", "tensor": "gradient", "abs_mean": 0.25, "nonfinite": 0.0}
STARTED = datetime(2026, 1, 2, 3, 4, 30, tzinfo=UTC)


def lines(*rows: Any) -> bytes:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def job(name: str = "a-job") -> JobResult:
    times = {"TrainingStartTime": STARTED, "TrainingEndTime": STARTED + timedelta(minutes=5)}
    return JobResult.of_training_job(described_training_job(name, **times))


def leave(world: Any, body: bytes, name: str) -> JobTraces:
    """The traces of a job that left these bytes as its output.tar.gz."""
    uri = str(job(name).artifact)
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    world.s3.put_object(Bucket=bucket, Key=key.replace("model.tar.gz", "output.tar.gz"), Body=body)
    return read_traces(world.s3, world.client("cloudwatch"), job(name))


def test_the_rows_of_a_job_are_read_from_its_output(world: Any) -> None:
    machine = {"at": 5.0, "cpu": 50.0, "memory": 20.0}
    files = {
        "tensorboard/events.out": b"\0" * 100,
        "tensors.jsonl": lines(GRADIENT, {**GRADIENT, "step": 4, "abs_mean": None}),
        "steps.jsonl": lines(STEP),
        "machine.jsonl": lines({"cores": 2}, machine),
    }

    found = leave(world, archive(files), "left-all")

    assert found.missing == ()
    assert found.tensors["conv1", "gradient"]["step"].tolist() == [3, 4]
    assert np.isnan(found.tensors["conv1", "gradient"]["abs_mean"][1])
    assert found.steps["backward"].tolist() == [0.3]
    assert found.machine["cpu"].tolist() == [50.0]
    assert np.isnan(found.machine["gpu"]).all()


def test_a_job_without_output_has_no_traces_and_nothing_is_wrong(world: Any) -> None:
    assert read_traces(world.s3, world.client("cloudwatch"), job("left-nothing")) == JobTraces()


@pytest.mark.parametrize("body", [b"", b"no archive", archive({"steps.jsonl": lines(STEP)})[:-20]])
def test_an_archive_that_cannot_be_read_is_named_and_stops_nothing(world: Any, body: bytes) -> None:
    found = leave(world, body, "left-rubbish")

    assert "left-rubbish cannot be read" in found.missing[0]


def test_a_file_that_is_too_large_is_left_out(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_traces, "LARGEST_FILE", 200)

    found = leave(world, archive({"tensors.jsonl": lines(*[GRADIENT] * 9), "steps.jsonl": lines(STEP)}), "left-much")

    assert "tensors.jsonl is larger" in found.missing[0]
    assert (found.tensors, len(found.steps["step"])) == ({}, 1)


def test_an_archive_that_expands_without_end_is_not_read(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_traces, "LIMITS", job_traces.ExpansionLimits(total=1 << 20))

    found = leave(world, archive({"large": b"\0" * (3 << 20), "steps.jsonl": lines(STEP)}), "left-a-bomb")

    assert "expands to" in found.missing[0]


@pytest.mark.parametrize("name", ["../steps.jsonl", "/steps.jsonl"])
def test_members_with_paths_that_lead_elsewhere_do_not_count(world: Any, name: str) -> None:
    assert leave(world, archive({name: lines(STEP)}), "left-a-path").steps == {}


def test_rows_of_another_form_are_counted() -> None:
    rows = lines(STEP, "{", "[]", {**STEP, "data": -1}, {**STEP, "step": 1e300}, '{"step": NaN}', "x" * 5000)

    found = traces_of({"steps.jsonl": rows})

    assert len(found.steps["step"]) == 1
    assert found.missing == ("6 rows of steps.jsonl have another format and do not count",)


@settings(max_examples=80, deadline=None)
@given(content=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: (text + "\n").encode()))
def test_whatever_the_files_hold_is_read_or_left_out(content: bytes) -> None:
    found = traces_of(dict.fromkeys(("tensors.jsonl", "steps.jsonl", "machine.jsonl"), content))

    assert all(len(set(map(len, columns.values()))) <= 1 for columns in (found.steps, found.machine))


def test_the_number_of_layers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_traces, "MOST_LAYERS", 3)

    found = traces_of({"tensors.jsonl": lines(*({**GRADIENT, "layer": str(number)} for number in range(9)))})

    assert len(found.tensors) == 3


def test_the_instance_shows_what_cloudwatch_has_of_it(world: Any) -> None:
    cloudwatch = world.client("cloudwatch")
    for minute, value in ((1, 150.0), (2, 190.0)):
        datum = {
            "MetricName": "CPUUtilization",
            "Dimensions": [{"Name": "Host", "Value": "watched/algo-1"}],
            "Timestamp": STARTED + timedelta(minutes=minute),
            "Value": value,
        }
        cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=[datum])

    found = read_traces(world.s3, cloudwatch, job("watched")).instance

    assert list(found) == ["CPUUtilization"]
    assert [value for _, value in found["CPUUtilization"]] == [150.0, 190.0]


def test_metrics_that_may_not_be_read_are_named_and_stop_nothing(world: Any) -> None:
    class Forbidden:
        def get_paginator(self, _: str) -> Any:
            raise world.s3.exceptions.ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetMetricData")

    found = read_traces(world.s3, Forbidden(), job("hidden"))

    assert "CloudWatch's metrics of hidden cannot be read" in found.missing[0]

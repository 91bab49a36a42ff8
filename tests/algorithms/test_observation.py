from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

import machine_use
import observation
from machine_use import MachineUse
from step_times import StepClock, StepLog
from tests.algorithms.conftest import Run, Trained
from tests.algorithms.job import TRAIN_IMAGES, Job

CPU = torch.device("cpu")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_step_has_its_times_its_loss_and_its_rate(trained: Trained) -> None:
    found = rows(trained.job.output / "steps.jsonl")
    steps = TRAIN_IMAGES // 6

    assert [(row["epoch"], row["step"]) for row in found] == [(step // steps, step) for step in range(3 * steps)]
    assert all(row["loss"] > 0 and row["learning_rate"] > 0 for row in found)
    assert all(row[part] >= 0 for row in found for part in ("data", "forward", "backward", "update"))
    assert [row["step"] for row in found if row["observed"]] == [*range(10), 12, 16]


def test_observed_steps_have_a_row_for_each_weight_gradient_and_rectifier(trained: Trained) -> None:
    found = rows(trained.job.output / "tensors.jsonl")
    first = {(row["layer"], row["tensor"]): row for row in found if row["step"] == 0}

    assert {row["step"] for row in found} == {*range(10), 12, 16}
    expected = {("layer1.0.conv1", "weight"), ("layer4.1.conv2", "gradient"), ("layer4.1.relu.2", "output")}
    assert expected <= set(first)
    assert first["fc", "gradient"]["norm"] > 0


def test_the_machine_is_sampled_while_the_job_runs(trained: Trained) -> None:
    machine, *samples = rows(trained.job.output / "machine.jsonl")

    assert machine["cores"] >= 1
    assert machine["interval"] == 0.5
    assert samples[0]["cpu"] >= 0
    assert 0 < samples[0]["memory"] <= 100
    assert [sample["at"] for sample in samples] == sorted(sample["at"] for sample in samples)


def test_event_files_show_losses_and_layers_to_tensorboard(trained: Trained) -> None:
    (file,) = (trained.job.output / "tensorboard").iterdir()
    values = {value.tag: value.simple_value for event in events(file) for value in event.summary.value}

    accuracies = trained.ended.epochs("Validation-accuracy")
    assert values["epoch/validation_accuracy"] == pytest.approx(accuracies[-1], abs=1e-5)
    assert values["step/loss"] > 0
    assert {"gradient_abs_mean/conv1", "output_dead/layer4.1.relu.2"} <= set(values)


def events(file: Path) -> list[Event]:
    """The events of a file: a length, a checksum, the event and its checksum, again and again."""
    content, found = file.read_bytes(), []
    while content:
        length = int.from_bytes(content[:8], "little")
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def test_a_job_without_the_packages_trains_and_its_log_says_what_is_missing(
    job: Job, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_: str) -> None:
        return None

    monkeypatch.setattr(machine_use, "installed", absent)
    monkeypatch.setattr(observation, "installed", absent)

    ended = run(job, statistics_every=100)

    assert ended.code == 0, ended.error
    assert "No event files for TensorBoard: add tensorboardX to requirements.txt" in ended.log
    assert "Package psutil is not installed: the use of the machine is not sampled" in ended.log
    assert sorted(path.name for path in job.output.iterdir()) == ["steps.jsonl", "tensors.jsonl"]


def test_a_job_that_asks_for_no_statistics_leaves_none(job: Job, run: Run) -> None:
    assert run(job, statistics_every=0).code == 0
    assert not job.output.exists()


def test_a_machine_that_cannot_be_read_is_named_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no counters here")

    sampler = MachineUse(tmp_path)
    monkeypatch.setattr(sampler, "_counters", broken)
    with caplog.at_level(logging.WARNING), sampler:
        pass

    assert "not sampled any further: no counters here" in caplog.text


def test_a_loss_without_a_value_is_left_empty(tmp_path: Path) -> None:
    log, clock = StepLog(tmp_path), StepClock(CPU)
    clock.end("forward")
    log.add(clock, torch.tensor(float("nan")), step=0)
    log.write()

    (row,) = rows(tmp_path / "steps.jsonl")
    assert row["loss"] is None
    assert set(clock.seconds()) == {"forward"}


def test_what_is_left_out_belongs_to_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 5.0, 7.0])
    monkeypatch.setattr("step_times.time.perf_counter", lambda: next(times))
    clock = StepClock(CPU)
    clock.end("forward")
    clock.leave_out()
    clock.end("update")

    assert clock.seconds() == {"forward": 1.0, "update": 2.0}

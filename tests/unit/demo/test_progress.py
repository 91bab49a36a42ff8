from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

from rich.console import Console

from demo.airflow_client import TaskRun
from demo.progress import Snapshot, display_for, stages
from demo.training_jobs import TrainingJob

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDER = {"check_conf": 0, "dataset.plan": 1, "dataset.publish": 2, "training.train": 3}


def task(task_id: str, state: str | None, start: int | None = None, end: int | None = None) -> TaskRun:
    def moment(seconds: int | None) -> datetime | None:
        return None if seconds is None else NOON + timedelta(seconds=seconds)

    return TaskRun(task_id, -1, state, moment(start), moment(end), 1)


def test_tasks_are_summed_up_by_stage_in_the_order_of_the_dag() -> None:
    tasks = [
        task("training.train", None),
        task("dataset.publish", "success", 9, 12),
        task("check_conf", "success", 0, 1),
        task("dataset.plan", "success", 2, 5),
    ]

    summed = stages(tasks, ORDER)

    assert [(stage.name, stage.state, stage.seconds) for stage in summed] == [
        ("check_conf", "success", 1.0),
        ("dataset", "success", 10.0),
        ("training", "", None),
    ]


def test_a_stage_names_the_task_it_is_busy_with() -> None:
    (stage,) = stages([task("dataset.plan", "success", 0, 1), task("dataset.publish", "running", 2)], ORDER)

    assert (stage.state, stage.task) == ("running", "publish")


def test_a_failed_task_fails_its_stage() -> None:
    (stage,) = stages([task("dataset.plan", "failed", 0, 1), task("dataset.publish", "upstream_failed")], ORDER)

    assert stage.state == "failed"


def test_without_a_terminal_each_change_is_one_line() -> None:
    output = io.StringIO()
    job = TrainingJob("train-1", "base", "InProgress", {"epochs": "4"})
    with display_for(Console(file=output, width=40)) as display:
        for accuracies in ({}, {0: 0.5}, {0: 0.5}, {0: 0.5, 1: 0.75}):
            job.accuracies = dict(accuracies)
            display.show(
                Snapshot("image_classification", 7, stages([task("check_conf", "success", 0, 1)], ORDER), [job])
            )

    assert output.getvalue().splitlines() == [
        "[   7 s] check_conf: success (1 s)",
        "[   7 s]   base job train-1: InProgress",
        "[   7 s]   base job train-1: InProgress, epoch 1 of 4, validation accuracy 0.5000",
        "[   7 s]   base job train-1: InProgress, epoch 2 of 4, validation accuracy 0.7500",
    ]


def test_a_job_that_is_over_shows_the_accuracy_of_what_it_kept() -> None:
    accuracies = {0: 0.5, 1: 0.875, 2: 0.75}
    running = TrainingJob("train-1", "base", "InProgress", {}, accuracies=accuracies)
    over = TrainingJob("train-1", "base", "Completed", {}, accuracies=accuracies)
    frequent = TrainingJob("train-1", "base", "Completed", {"checkpoint_frequency": "1"}, accuracies=accuracies)

    assert [job.accuracy for job in (running, over, frequent)] == [0.75, 0.875, 0.75]
    assert TrainingJob("train-1", "base", "Completed", {}).accuracy is None


def test_a_terminal_shows_stages_and_jobs() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, record=True)
    job = TrainingJob("train-1", "base", "Completed", {"epochs": "4"}, accuracies={3: 0.9812})
    with display_for(console) as display:
        display.show(
            Snapshot("image_classification", 42, stages([task("dataset.plan", "success", 0, 3)], ORDER), [job])
        )

    text = console.export_text()
    assert "dataset" in text
    assert "4 / 4" in text
    assert "0.9812" in text

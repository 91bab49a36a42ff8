from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from include.sagemaker.job_polling import LogLine
from include.sagemaker.job_watch import (
    EpochProgress,
    JobProgress,
    StatusProgress,
    billable_seconds,
    billed_so_far,
    format_duration,
)

LOG = """\
[11/20/2026 10:00:00 INFO 140] Epoch[0] Train-accuracy=0.500000
[11/20/2026 10:00:00 INFO 140] Epoch[0] Train-top_k_accuracy_2=0.700000
[11/20/2026 10:00:00 INFO 140] Epoch[0] Time cost=8.095
[11/20/2026 10:00:01 INFO 140] Epoch[0] Validation-accuracy=0.412000
[11/20/2026 10:00:09 INFO 140] Epoch[1] Train-accuracy=0.900000
[11/20/2026 10:00:09 INFO 140] Epoch[1] Time cost=8.000
[11/20/2026 10:00:10 INFO 140] Epoch[1] Validation-accuracy=0.800000""".splitlines()


def test_an_epoch_is_summed_up_in_one_line_with_the_time_left() -> None:
    progress = EpochProgress(epochs=3)

    summaries = [summary for summary in map(progress.read, LOG) if summary]

    assert summaries == [
        "epoch 1 of 3, train accuracy 0.5000, validation accuracy 0.4120, 8.1 s an epoch, about 16 s left",
        "epoch 2 of 3, train accuracy 0.9000, validation accuracy 0.8000, 8.0 s an epoch, about 8 s left",
    ]


def test_the_time_left_counts_the_validation_where_the_lines_tell_their_time() -> None:
    progress = EpochProgress(epochs=3)

    *_, last = [progress.read(line, at) for line, at in zip(LOG, [8, 8, 8, 11, 19, 19, 22], strict=True)]

    assert last
    assert last.endswith("8.0 s an epoch, about 11 s left")


def test_without_a_known_number_of_epochs_no_time_left_is_guessed() -> None:
    progress = EpochProgress()

    summaries = [summary for summary in map(progress.read, LOG[:4]) if summary]

    assert summaries == ["epoch 1, train accuracy 0.5000, validation accuracy 0.4120, 8.1 s an epoch"]


def test_other_lines_say_nothing_about_an_epoch() -> None:
    assert EpochProgress().read("Storing the best model with validation accuracy: 0.412") is None


def told(progress: JobProgress, *lines: LogLine) -> list[str]:
    """Everything that is shown, the summaries marked."""
    shown = []
    for line in lines:
        text, summary = progress.read(line)
        shown += [text, f"==> {summary}"] if summary else [text]
    return shown


def test_every_epoch_of_several_machines_is_summed_up_once_with_the_first_machines_figures() -> None:
    def epoch(machine: int, at: float) -> list[LogLine]:
        lines = (
            f"Epoch[0] Train-accuracy=0.{machine}1",
            f"Epoch[0] Time cost={machine}",
            f"Epoch[0] Validation-accuracy=0.{machine}2",
        )
        return [LogLine(at + number, line, f"algo-{machine}-1767323045") for number, line in enumerate(lines)]

    mixed = sorted([*epoch(2, 0.0), *epoch(1, 0.5), *epoch(10, 0.7)])

    assert told(JobProgress(machines=3, epochs=1), *mixed) == [
        "[algo-2] Epoch[0] Train-accuracy=0.21",
        "[algo-1] Epoch[0] Train-accuracy=0.11",
        "[algo-10] Epoch[0] Train-accuracy=0.101",
        "[algo-2] Epoch[0] Time cost=2",
        "[algo-1] Epoch[0] Time cost=1",
        "[algo-10] Epoch[0] Time cost=10",
        "[algo-2] Epoch[0] Validation-accuracy=0.22",
        "[algo-1] Epoch[0] Validation-accuracy=0.12",
        "==> epoch 1 of 1, train accuracy 0.1100, validation accuracy 0.1200, 1.0 s an epoch",
        "[algo-10] Epoch[0] Validation-accuracy=0.102",
    ]


def test_the_lines_of_one_machine_are_shown_as_they_are() -> None:
    lines = [LogLine(at, line, "algo-1-1767323045") for at, line in enumerate(LOG[:3])]
    assert told(JobProgress(), *lines) == LOG[:3]


def test_the_time_left_does_not_count_the_wait_for_another_machine() -> None:
    before = [LogLine(at, line, "algo-1-1767323045") for at, line in enumerate(LOG[:4])]
    after = [LogLine(9000 + at, line, "algo-1-1767329999") for at, line in enumerate(LOG[4:])]
    unfinished = LogLine(5, "Epoch[1] Train-accuracy=0.111", "algo-1-1767323045")

    *_, last = told(JobProgress(epochs=3), *before, unfinished, *after)

    assert last == "==> epoch 2 of 3, train accuracy 0.9000, validation accuracy 0.8000, 8.0 s an epoch, about 8 s left"


@pytest.mark.parametrize(
    ("seconds", "spelt"), [(0.4, "0 s"), (119, "119 s"), (1390, "23 min"), (7200, "2 h 0 min"), (18_600, "5 h 10 min")]
)
def test_durations_are_spelt_for_people(seconds: float, spelt: str) -> None:
    assert format_duration(seconds) == spelt


def transition(status: str, message: str = "") -> dict[str, Any]:
    return {"Status": status, "StatusMessage": message, "StartTime": status}


def test_every_change_of_a_training_job_is_told_once_and_in_order_also_when_several_came_between_two_looks() -> None:
    progress = StatusProgress()
    transitions = [transition("Starting", "Preparing the instances"), transition("Downloading", "Downloading data")]

    assert progress.read({"SecondaryStatusTransitions": transitions}, "InProgress") == [
        "Starting: Preparing the instances",
        "Downloading: Downloading data",
    ]
    assert progress.read({"SecondaryStatusTransitions": transitions}, "InProgress") == []
    assert progress.read({"SecondaryStatusTransitions": [*transitions, transition("Training")]}, "InProgress") == [
        "Training"
    ]


def test_a_spot_interruption_is_said_and_what_becomes_of_the_job() -> None:
    interrupted = transition("Interrupted", "Training job interrupted")

    (line,) = StatusProgress().read({"SecondaryStatusTransitions": [interrupted]}, "InProgress")

    assert "the spot machine was taken back: the job continues from its checkpoint" in line


def rule(name: str, status: str, details: str = "") -> dict[str, str]:
    return {"RuleConfigurationName": name, "RuleEvaluationStatus": status, "StatusDetails": details}


def test_a_rule_of_debugger_is_told_when_its_status_changes() -> None:
    progress = StatusProgress()
    begun = {"DebugRuleEvaluationStatuses": [rule("Overfit", "InProgress"), rule("ClassImbalance", "InProgress")]}
    found = {
        "DebugRuleEvaluationStatuses": [
            rule("Overfit", "IssuesFound", "at step 40"),
            rule("ClassImbalance", "InProgress"),
        ],
        "ProfilerRuleEvaluationStatuses": [rule("ProfilerReport", "InProgress")],
    }

    assert progress.read(begun, "InProgress") == [
        "InProgress",
        "rule Overfit: InProgress",
        "rule ClassImbalance: InProgress",
    ]
    assert progress.read(begun, "InProgress") == []
    assert progress.read(found, "InProgress") == [
        "rule Overfit: IssuesFound (at step 40)",
        "rule ProfilerReport: InProgress",
    ]


def test_a_job_without_stages_tells_its_status_once() -> None:
    progress = StatusProgress()

    assert progress.read({}, "InProgress") == ["InProgress"]
    assert progress.read({}, "InProgress") == []
    assert progress.read({}, "Completed") == ["Completed"]


def test_a_tuning_job_tells_its_counts_and_the_best_so_far_with_its_hyperparameters() -> None:
    description = {
        "TrainingJobStatusCounters": {"Completed": 2, "InProgress": 1, "NonRetryableError": 1, "Stopped": 0},
        "HyperParameterTuningJobConfig": {"ResourceLimits": {"MaxNumberOfTrainingJobs": 8}},
        "BestTrainingJob": {
            "TrainingJobName": "tune-2",
            "TunedHyperParameters": {"optimizer": "sgd", "learning_rate": "0.01"},
            "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:accuracy", "Value": 0.91},
        },
    }

    assert StatusProgress().read(description, "InProgress") == [
        "InProgress; 2 of 8 jobs completed, 1 running, 1 failed; "
        "best last epoch so far tune-2: validation:accuracy 0.9100 with learning_rate 0.01, optimizer sgd"
    ]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def job(*stages: tuple[str, float, float | None], **more: Any) -> dict[str, Any]:
    transitions = [
        {"Status": status, "StartTime": at(start), **({"EndTime": at(end)} if end is not None else {})}
        for status, start, end in stages
    ]
    resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}
    return {"SecondaryStatusTransitions": transitions, "ResourceConfig": resources, **more}


def test_a_job_is_billed_from_the_moment_it_has_a_machine() -> None:
    running = job(("Starting", 0, 100), ("Downloading", 100, 130), ("Training", 130, None))

    assert billable_seconds(running, 230) == 130
    assert billed_so_far(running, 230, {}) == "130 s billable so far"


def test_an_interrupted_spot_job_is_not_billed_while_it_has_no_machine() -> None:
    stages = [("Training", 100.0, 200.0), ("Interrupted", 200.0, 500.0), ("Starting", 500.0, 600.0)]
    running = job(*stages, ("Training", 600, None), EnableManagedSpotTraining=True)

    assert billable_seconds(running, 650) == 150
    assert billed_so_far(running, 650, {}) == "at most 150 s billable so far"


def test_the_cost_is_told_where_the_price_of_the_machine_is_known() -> None:
    running = job(("Training", 0, None))
    running["ResourceConfig"]["InstanceCount"] = 2

    told = billed_so_far(running, 1800, {"ml.g5.xlarge": 1.5})

    assert told == "1800 s billable so far on each of 2 machines (1.50 USD)"


def test_what_aws_bills_in_the_end_goes_before_what_was_counted() -> None:
    assert billable_seconds(job(("Training", 0, 100), BillableTimeInSeconds=40), 100) == 40

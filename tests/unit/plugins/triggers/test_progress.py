from __future__ import annotations

from image_classification.triggers.progress import EpochProgress, StatusProgress

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


def test_without_a_known_number_of_epochs_no_time_left_is_guessed() -> None:
    progress = EpochProgress()

    summaries = [summary for summary in map(progress.read, LOG[:4]) if summary]

    assert summaries == ["epoch 1, train accuracy 0.5000, validation accuracy 0.4120, 8.1 s an epoch"]


def test_other_lines_say_nothing_about_an_epoch() -> None:
    assert EpochProgress().read("Storing the best model with validation accuracy: 0.412") is None


def test_a_status_is_told_once_until_it_changes() -> None:
    progress = StatusProgress()
    downloading = {
        "SecondaryStatus": "Downloading",
        "SecondaryStatusTransitions": [{"StatusMessage": "Downloading data"}],
    }

    assert progress.read({"SecondaryStatus": "Starting"}, "InProgress") == "InProgress, Starting"
    assert progress.read({"SecondaryStatus": "Starting"}, "InProgress") is None
    assert progress.read(downloading, "InProgress") == "InProgress, Downloading data"


def test_a_tuning_job_tells_its_counts_and_the_best_so_far() -> None:
    description = {
        "TrainingJobStatusCounters": {"Completed": 2, "InProgress": 1},
        "BestTrainingJob": {
            "TrainingJobName": "tune-2",
            "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:accuracy", "Value": 0.91},
        },
    }

    assert StatusProgress().read(description, "InProgress") == (
        "InProgress, 2 jobs completed, 1 running, best so far tune-2 validation:accuracy 0.9100"
    )

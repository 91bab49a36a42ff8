from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch

import training_loop
from model_files import DESCRIPTION_FILE, WEIGHTS_FILE
from tests.algorithms.conftest import Run, Trained
from tests.algorithms.job import (
    CLASSES,
    TRAIN_IMAGES,
    VALIDATION_IMAGES,
    Job,
    equal_weights,
    one_corner,
    picture,
    several_corners,
    write_records,
)


def test_a_job_learns_and_prints_each_epoch_as_the_built_in_algorithm_does(trained: Trained) -> None:
    assert trained.ended.code == 0, trained.ended.error
    line = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] Epoch\[2\] %s=\d+\.\d+$"
    for name in ("Train-accuracy", "Train-loss", "Time cost", "Validation-accuracy", "Validation-loss"):
        assert re.search(line % name, trained.ended.log, re.MULTILINE), name
        assert len(trained.ended.epochs(name)) == 3
    assert max(trained.ended.epochs("Validation-accuracy")) > 0.9
    assert trained.ended.error == ""


def test_the_model_is_that_of_the_best_epoch(trained: Trained) -> None:
    accuracies = trained.ended.epochs("Validation-accuracy")
    description = trained.job.trained().description

    assert description.accuracy == pytest.approx(max(accuracies), abs=1e-6)
    assert description.epoch == accuracies.index(max(accuracies)) + 1
    kept = re.findall(r"Epoch\[(\d+)\] Kept", trained.ended.log)
    assert int(kept[-1]) + 1 == description.epoch


def test_a_model_is_weights_by_name_and_what_they_are_the_weights_of(trained: Trained) -> None:
    weights = torch.load(trained.job.model / WEIGHTS_FILE, weights_only=True)
    described = json.loads((trained.job.model / DESCRIPTION_FILE).read_text())

    assert weights["fc.weight"].shape == (3, 512)
    assert described["network"] == "resnet18"
    assert described["classes"] == list(CLASSES)
    assert (described["image_size"], described["multi_label"], described["view"]) == (28, False, "whole")


def test_the_same_seed_gives_the_same_model_however_many_workers_decode(job: Job, run: Run, tmp_path: Path) -> None:
    assert run(job, augmentation="trivial").code == 0
    first = job.trained().weights
    assert run(job, augmentation="trivial", loader_workers=2).code == 0

    assert len(equal_weights(first, job.trained().weights)) == len(first)


def test_class_folders_are_read_and_name_the_classes(tmp_path: Path, run: Run) -> None:
    job = Job(tmp_path)
    for channel, count in (("train", 12), ("validation", 3)):
        for number in range(count):
            name = CLASSES[number % 3]
            (job.channel(channel) / name).mkdir(exist_ok=True)
            picture([number % 3], number).save(job.channel(channel) / name / f"{number}.png")

    ended = run(job)

    assert ended.code == 0, ended.error
    assert "train: 12 images, validation: 3 images" in ended.log
    assert job.trained().description.classes == tuple(sorted(CLASSES))


def test_images_with_several_labels_are_learned(tmp_path: Path, run: Run) -> None:
    job = Job(tmp_path).name_classes()
    write_records(job.channel("train") / "train.rec", several_corners(TRAIN_IMAGES), index=True)
    write_records(job.channel("validation") / "v.rec", several_corners(VALIDATION_IMAGES, first=TRAIN_IMAGES))

    ended = run(job, multi_label=1, weighted_loss=1, label_smoothing=0.1, epochs=3)

    assert ended.code == 0, ended.error
    assert max(ended.epochs("Validation-accuracy")) > 0.6
    assert job.trained().description.multi_label


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"mixed_precision": "bfloat16", "clip_gradient_norm": 1.0, "schedule": "step", "warmup_epochs": 0.5},
        {"augmentation": "crop_color", "weighted_loss": 1, "optimizer": "sgd", "view": "center"},
    ],
    ids="-".join,
)
def test_what_may_be_chosen_trains(job: Job, run: Run, hyperparameters: dict[str, object]) -> None:
    ended = run(job, **hyperparameters)

    assert ended.code == 0, ended.error
    assert ended.epochs("Train-loss")[0] < 10


def test_early_stopping_ends_training_when_accuracy_no_longer_rises(job: Job, run: Run, trained: Trained) -> None:
    weights = job.channel("weights") / "start.pt"
    weights.write_bytes((trained.job.model / WEIGHTS_FILE).read_bytes())

    ended = run(job, epochs=9, freeze_epochs=9, lr=1e-8, early_stopping_patience=2)

    assert len(ended.epochs("Validation-accuracy")) == 3
    assert "Early stopping after epoch 2" in ended.log


def test_frozen_layers_stay_as_they_were_until_all_learn(job: Job, run: Run, trained: Trained) -> None:
    (job.channel("weights") / "start.pt").write_bytes((trained.job.model / WEIGHTS_FILE).read_bytes())
    before = trained.job.trained().weights

    assert run(job, freeze_epochs=1).code == 0
    learned = set(before) - set(equal_weights(before, job.trained().weights))
    assert learned == {"fc.weight", "fc.bias"}

    ended = run(job.keep_checkpoints(), freeze_epochs=1, epochs=2, optimizer="sgd")
    assert "Epoch[1] All layers learn from here on" in ended.log
    last = torch.load(job.checkpoints / "checkpoint.pt", weights_only=True)["weights"]
    assert {"conv1.weight", "layer1.0.bn1.running_mean"} <= set(before) - set(equal_weights(before, last))


def test_a_loss_that_is_no_number_fails_the_job_and_names_the_remedy(job: Job, run: Run) -> None:
    ended = run(job, optimizer="sgd", lr=100, weight_decay=1, momentum=0.99)

    assert ended.code == 1
    assert "Error: The loss is not a number any more in epoch 0. Lower lr=100" in ended.error
    assert not job.model.exists()


def test_a_loss_that_is_no_number_later_ends_training_with_the_best_model(job: Job, run: Run) -> None:
    ended = run(job, lr=100, weight_decay=1, epochs=3)

    assert ended.code == 0
    assert "training ends, and an earlier epoch's model stays. Lower lr=100" in ended.log
    assert job.trained().description.epoch == 1


def test_an_interrupted_job_ends_with_the_model_of_one_that_ran_through(
    tmp_path: Path, job: Job, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM comes in the second step of the second epoch."""
    chosen = {"optimizer": "sgd", "epochs": 2, "augmentation": "crop"}
    through = run(job.keep_checkpoints(), **chosen)
    expected = torch.load(job.checkpoints / "checkpoint.pt", weights_only=True)
    for file in job.checkpoints.rglob("*.pt"):
        file.unlink()
    step_ended = training_loop.EpochWatch.step_ended

    def stop(watch: training_loop.EpochWatch, step: int, loss: torch.Tensor) -> None:
        step_ended(watch, step, loss)
        if (watch._epoch, step) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(training_loop.EpochWatch, "step_ended", stop)
        stopped = run(job, **chosen)
    resumed = run(job, **chosen)

    assert (stopped.code, resumed.code) == (0, 0)
    assert "Stopping in epoch 1 after step 2, as the service asked" in stopped.log
    assert "Continuing from the checkpoint: epoch 1, step 2" in resumed.log
    for name in ("Train-accuracy", "Validation-accuracy"):
        assert stopped.epochs(name) + resumed.epochs(name) == through.epochs(name)
    last = torch.load(job.checkpoints / "checkpoint.pt", weights_only=True)
    assert last["progress"] == expected["progress"]
    assert len(equal_weights(expected["weights"], last["weights"])) == len(expected["weights"])


def test_a_checkpoint_of_another_job_is_refused_by_name(job: Job, run: Run) -> None:
    assert run(job.keep_checkpoints(), optimizer="sgd", momentum=0).code == 0

    ended = run(job, batch_size=12)

    assert ended.code == 1
    assert "optimizer=adamw (the checkpoint has sgd); batch_size=12 (the checkpoint has 6)" in ended.error


def test_a_checkpoint_gives_back_the_best_model_and_its_figure_also_if_the_job_had_ended(job: Job, run: Run) -> None:
    assert run(job.keep_checkpoints(), epochs=2, optimizer="sgd", momentum=0).code == 0
    best = job.trained()
    for file in (WEIGHTS_FILE, DESCRIPTION_FILE):
        (job.model / file).unlink()

    ended = run(job, epochs=2, optimizer="sgd", momentum=0)

    assert ended.code == 0, ended.error
    assert "Nothing is left to train" in ended.log
    assert f"Epoch[{best.description.epoch - 1}] Validation-accuracy={best.description.accuracy:f}" in ended.log
    assert f"Epoch[{best.description.epoch - 1}] Kept: " in ended.log
    assert job.trained().description == best.description
    assert len(equal_weights(best.weights, job.trained().weights)) == len(best.weights)


def test_sigterm_to_the_whole_process_group_saves_and_ends_the_job(job: Job) -> None:
    process = job.keep_checkpoints().start(epochs=500, loader_workers=2, optimizer="sgd", momentum=0)
    assert process.stdout is not None
    for line in process.stdout:
        if "Epoch[0] Train-accuracy" in line:
            break
    os.killpg(process.pid, signal.SIGTERM)
    log, error = process.communicate(timeout=100)

    assert process.returncode == 0, error
    assert "as the service asked" in log
    assert job.trained().weights
    assert (job.checkpoints / "checkpoint.pt").is_file()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda job: (job.channel("validation") / "validation.rec").unlink(),
            "Channel 'validation' holds neither records nor",
        ),
        (lambda job: (job.channel("labels") / "labels.json").unlink(), "Channel 'labels' holds no labels.json"),
        (
            lambda job: job.name_classes(CLASSES[:2]),
            "record 2 of train.rec in channel 'train' are 2; expected is a class from 0 to 1",
        ),
        (lambda job: job.name_classes(("a", "b", "a")), "names a more than once"),
        (
            lambda job: (job.channel("train") / "train.rec").write_bytes(b"\x0a\x23\xd7\xce\xff\xff\x00\x00"),
            "train.rec is damaged: a record of 65535 bytes that the file does not hold at byte 0",
        ),
        (
            lambda job: (job.channel("train") / "train.idx").write_text("0\t4\n"),
            "train.idx does not belong to train.rec",
        ),
    ],
    ids=range(6),
)
def test_a_channel_that_cannot_be_used_is_named(job: Job, run: Run, damage: object, message: str) -> None:
    damage(job)  # type: ignore[operator]

    ended = run(job)

    assert ended.code == 1
    assert ended.error.startswith("Error: ")
    assert ended.error.count("\n") == 1
    assert message in ended.error
    assert (job.base / "output" / "failure").read_text() == ended.error.removeprefix("Error: ").strip()


def test_an_image_that_cannot_be_decoded_is_named_and_ends_the_job_with_its_workers(job: Job) -> None:
    write_records(job.channel("train") / "train.rec", [*one_corner(20), ([1.0], b"no image")])
    process = job.start(batch_size=7, loader_workers=2)
    _, error = process.communicate(timeout=100)

    assert process.returncode == 1
    assert error.startswith("Error: record 20 of train.rec in channel 'train': the image cannot be decoded")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"batch_size": 37}, "batch_size=37 is more than the 36 images of channel 'train'"),
        ({"num_classes": 4}, "num_classes=4 differs from the 3 classes of channel 'labels'"),
        ({"multi_label": 1}, "expected is 3 labels, a 0 or 1 for each class"),
        ({"freeze_epochs": 1}, "freeze_epochs=1 freezes random weights"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_hyperparameters_that_do_not_fit_the_channels_are_named(
    job: Job, run: Run, hyperparameters: dict[str, object], message: str
) -> None:
    ended = run(job, **hyperparameters)

    assert ended.code == 1
    assert message in ended.error


def test_a_job_without_class_names_needs_their_number(job: Job, run: Run) -> None:
    (job.channel("labels") / "labels.json").unlink()
    job.channel("labels").rmdir()

    assert "set hyperparameter num_classes, or add a channel 'labels'" in run(job).error
    assert run(job, num_classes=3).code == 0
    assert job.trained().description.classes == ("0", "1", "2")

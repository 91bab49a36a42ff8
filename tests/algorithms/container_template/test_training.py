from __future__ import annotations

import json
import os
import re
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from algorithms.container_template.classifier import training
from algorithms.container_template.classifier.checkpoints import Checkpoints
from algorithms.container_template.classifier.config import read_config
from algorithms.container_template.classifier.decoding import decode, pixels
from algorithms.container_template.classifier.model_files import load_model
from algorithms.container_template.classifier.networks import BASE, HEAD, build_network
from algorithms.container_template.classifier.stopping import StopRequest
from tests.algorithms.container_template.conftest import TrainedJob
from tests.algorithms.container_template.job import QUICK, TEST, TRAIN, VALIDATION, ContainerJob, Run
from tests.algorithms.job import CLASSES, encoded, picture

FOLDERS = tuple(sorted(CLASSES))


def weights_of(file: Path) -> list[np.ndarray]:
    network = build_network(read_config({name: str(value) for name, value in QUICK.items()}), 3)
    network.load_weights(file)
    return network.get_weights()


def newest_weights(job: ContainerJob) -> list[np.ndarray]:
    """The weights of the last epoch, from the checkpoint."""
    (newest,) = sorted(job.checkpoints.glob("epoch-*"), key=lambda file: file.stat().st_mtime_ns)[-1:]
    return weights_of(newest)


def archived(trained: TrainedJob, job: ContainerJob) -> None:
    """Give a job the model of an earlier one, as SageMaker packs it."""
    with tarfile.open(job.channel("model") / "model.tar.gz", "w:gz") as archive:
        archive.add(trained.job.model, arcname=".")


def test_a_job_learns_and_prints_each_epoch_as_the_built_in_algorithm_does(trained: TrainedJob) -> None:
    assert trained.ended.code == 0, trained.ended.error
    line = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] Epoch\[3\] %s=\d+\.\d+$"
    for name in ("Train-accuracy", "Train-loss", "Time cost", "Validation-accuracy", "Validation-loss"):
        assert re.search(line % name, trained.ended.log, re.MULTILINE), name
        assert len(trained.ended.epochs(name)) == 4
    assert max(trained.ended.epochs("Validation-accuracy")) > 0.9
    assert f"train: {TRAIN} images, validation: {VALIDATION} images, test: {TEST} images" in trained.ended.log
    assert trained.ended.error == ""


def test_the_archive_holds_everything_as_json_csv_and_in_the_formats_of_keras(trained: TrainedJob) -> None:
    reports = {f"{name}.{kind}" for name in ("classification_report", "history") for kind in ("json", "csv")}
    reports |= {"confusion_matrix.csv", "classes.json", "config.json"}
    output = trained.job.base / "output" / "data"
    checkpoint = {file.name for file in (output / "checkpoint").iterdir()}

    assert {file.name for file in trained.job.model.iterdir()} == reports | {"model.keras", "model.weights.h5"}
    assert {file.name for file in output.iterdir()} == reports | {"checkpoint"}
    assert {"progress.json", "epoch-4-0.weights.h5"} <= checkpoint
    assert {"".join(Path(name).suffixes) for name in checkpoint} == {".json", ".weights.h5"}
    assert trained.job.document("classes.json") == [*FOLDERS]
    assert trained.job.document("config.json")["learning_rate"] == 0.004


def test_the_reports_are_of_the_test_images(trained: TrainedJob) -> None:
    report, matrix = trained.job.document("classification_report.json"), trained.job.table("confusion_matrix.csv")
    counts = np.array([row[1:] for row in matrix[1:]], dtype=int)

    assert matrix[0] == ["class", *FOLDERS]
    assert counts.sum(axis=1).tolist() == [TEST // 3] * 3
    assert report["accuracy"] == counts.trace() / TEST
    assert report["bottom"]["recall"] == counts[0, 0] / (TEST // 3)
    assert f"Test-accuracy={report['accuracy']:.6f} of the model that was kept" in trained.ended.log
    assert [row[0] for row in trained.job.table("classification_report.csv")[1:4]] == [*FOLDERS]


def test_the_history_has_a_row_for_each_epoch_and_the_model_is_the_best_of_them(trained: TrainedJob) -> None:
    history = trained.job.document("history.json")
    accuracies = [row["validation_accuracy"] for row in history]

    assert accuracies == pytest.approx(trained.ended.epochs("Validation-accuracy"), abs=1e-6)
    assert [row["learning_rate"] for row in history] == sorted((row["learning_rate"] for row in history), reverse=True)
    assert len(trained.job.table("history.csv")) == 5
    kept = re.findall(r"Epoch\[(\d+)\] Kept", trained.ended.log)
    assert accuracies[int(kept[-1])] == max(accuracies)


def test_the_keras_file_is_the_same_model_and_takes_pixels_as_they_are(trained: TrainedJob) -> None:
    image = pixels(decode(encoded(picture([1], 7))), 24)[None]

    found = keras.models.load_model(trained.job.model / "model.keras").predict(image, verbose=0)

    assert found == pytest.approx(load_model(trained.job.model).network.predict(image, verbose=0), abs=1e-5)
    assert found.sum() == pytest.approx(1, abs=1e-5)


def test_records_are_read_in_the_class_order_of_labels_json(tmp_path: Path, run: Run) -> None:
    job = ContainerJob(tmp_path).records(train=TRAIN, validation=VALIDATION)
    job.name_classes()

    ended = run(job)

    assert ended.code == 0, ended.error
    assert job.document("classes.json") == [*CLASSES]
    assert job.document("classification_report.json")["top left"]["support"] == VALIDATION // 3


def test_the_class_order_may_lie_beside_the_class_folders(job: ContainerJob, run: Run) -> None:
    (job.channel("train") / "classes.json").write_text('["top left", "bottom", "top right", "none of them"]')

    assert run(job).code == 0
    assert job.document("classes.json") == ["top left", "bottom", "top right", "none of them"]


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {
            "optimizer": "sgd",
            "clip_norm": 1,
            "class_weights": "balanced",
            "learning_rate_schedule": "constant",
            "precision": "mixed_bfloat16",
        },
        {
            "optimizer": "adamw",
            "weight_decay": 0.01,
            "flip": "both",
            "rotation": 20,
            "zoom": 0.2,
            "shift": 0.1,
            "brightness": 0.2,
            "contrast": 0.2,
        },
    ],
    ids=["balanced", "augmented"],
)
def test_what_may_be_chosen_trains(job: ContainerJob, run: Run, hyperparameters: dict[str, object]) -> None:
    ended = run(job, **hyperparameters)

    assert ended.code == 0, ended.error
    assert ended.epochs("Train-loss")[0] < 3


def test_early_stopping_ends_training_when_accuracy_no_longer_rises(
    job: ContainerJob, run: Run, trained: TrainedJob
) -> None:
    archived(trained, job)

    ended = run(job, epochs=9, learning_rate=1e-8, early_stopping_patience=1, freeze_epochs=9)

    assert len(ended.epochs("Validation-accuracy")) == 2
    assert "Early stopping after epoch 1: 1 epochs without a better accuracy" in ended.log


def test_an_interrupted_job_ends_with_the_model_of_one_that_ran_through(
    job: ContainerJob, run: Run, trained: TrainedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM comes in the second step of the second epoch, in which all layers learn.

    The files of the checkpoint before the last one stay: S3 may hold that one's progress.json beside the newer files.
    """
    archived(trained, job)
    chosen = {"epochs": 2, "flip": "horizontal", "freeze_epochs": 1}
    through = run(job.keep_checkpoints(), **chosen)
    expected, history = newest_weights(job), job.document("history.json")
    for file in job.checkpoints.iterdir():
        file.unlink()
    step_ended = StopRequest.on_train_batch_end

    def stop(request: StopRequest, batch: int, logs: object = None) -> None:
        if request.model.get_layer(HEAD).trainable and request.model.layers[2].trainable and batch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        step_ended(request, batch, logs)

    with monkeypatch.context() as patched:
        patched.setattr(StopRequest, "on_train_batch_end", stop)
        stopped = run(job, **chosen)
    resumed = run(job, **chosen)

    assert (through.code, stopped.code, resumed.code) == (0, 0, 0)
    assert "Stopping in epoch 1 after step 2, as the service asked" in stopped.log
    assert "Continuing from the checkpoint: epoch 1, step 2" in resumed.log
    for name in ("Train-accuracy", "Validation-accuracy", "Validation-loss"):
        assert stopped.epochs(name) + resumed.epochs(name) == pytest.approx(through.epochs(name), abs=2e-6), name
    for one, other in zip(expected, newest_weights(job), strict=True):
        assert np.array_equal(one, other)
    assert {file.name for file in job.checkpoints.glob("epoch-*")} == {"epoch-1-2.weights.h5", "epoch-2-0.weights.h5"}
    assert [row["train_loss"] for row in job.document("history.json")] == pytest.approx(
        [row["train_loss"] for row in history]
    )


def test_a_job_that_is_stopped_at_once_leaves_a_model_and_a_checkpoint(
    job: ContainerJob, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StopRequest, "on_epoch_begin", lambda *_: os.kill(os.getpid(), signal.SIGTERM))

    ended = run(job.keep_checkpoints(), epochs=500)

    assert ended.code == 0
    assert "Stopping in epoch 0 after step 1" in ended.log
    assert load_model(job.model).classes == FOLDERS
    assert {file.name for file in job.checkpoints.iterdir()} == {"progress.json", "epoch-0-1.weights.h5"}


def test_a_finished_checkpoint_gives_back_the_best_model(job: ContainerJob, run: Run) -> None:
    assert run(job.keep_checkpoints()).code == 0
    best = weights_of(job.model / "model.weights.h5")
    for file in job.model.iterdir():
        file.unlink()

    assert run(job).code == 0

    for one, other in zip(best, weights_of(job.model / "model.weights.h5"), strict=True):
        assert np.array_equal(one, other)
    assert len(job.document("history.json")) == 1


def test_a_checkpoint_of_another_job_is_refused_by_name(job: ContainerJob, run: Run) -> None:
    assert run(job.keep_checkpoints()).code == 0

    ended = run(job, batch_size=12, optimizer="sgd")

    assert ended.code == 1
    assert "batch_size=12 (the checkpoint has 6); optimizer=sgd (the checkpoint has adam)" in ended.error


def test_an_earlier_model_is_trained_further_and_comes_before_weights(
    job: ContainerJob, run: Run, trained: TrainedJob
) -> None:
    """A retraining has the channels of the first training too."""
    archived(trained, job)
    job.channel("weights")

    ended = run(job, learning_rate=1e-6)

    assert ended.code == 0, ended.error
    assert ended.epochs("Train-accuracy")[0] > 0.8
    assert ended.epochs("Validation-accuracy")[0] > 0.8


@pytest.mark.parametrize(
    ("names", "network", "message"),
    [
        (["top right", "top left", "bottom"], "small", "the 3 classes of the job (the same in another order)"),
        (["bottom", "top left", "top right", "a"], "small", "the 4 classes of the job (the model has 3)"),
        (FOLDERS, "MobileNetV2", "network=MobileNetV2 (the model has small)"),
    ],
)
def test_an_earlier_model_of_something_else_is_refused_by_name(  # noqa: PLR0917
    trained: TrainedJob, job: ContainerJob, run: Run, names: list[str], network: str, message: str
) -> None:
    archived(trained, job)
    job.name_classes(names)

    ended = run(job, network=network)

    assert ended.code == 1
    assert f"cannot be trained further: it does not fit {message}" in ended.error


def test_published_weights_are_what_an_architecture_begins_with(job: ContainerJob, run: Run) -> None:
    """The file is written as Keras publishes them, in its older HDF5 format, without the last layer."""
    hyperparameters = {"network": "MobileNet", "image_size": 32, "batch_size": 18, "freeze_epochs": 1}
    config = read_config({name: str(value) for name, value in {**QUICK, **hyperparameters}.items()})
    published = build_network(config, 1000).get_layer(BASE)
    with h5py.File(job.channel("weights") / "mobilenet_1_0_224_tf_no_top.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, published)

    ended = run(job, **hyperparameters)

    assert ended.code == 0, ended.error
    learned = load_model(job.model).network.get_layer(BASE)
    for one, other in zip(published.get_weights(), learned.get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("damage", "hyperparameters", "message"),
    [
        (lambda job: rmtree(job.channel("validation")), {}, "Channel 'validation' is missing (the job has: train)"),
        (lambda job: rmtree(job.channel("train") / "bottom"), {}, "not among the 2 classes: bottom. Remove them"),
        (lambda job: job.name_classes(CLASSES[:2]), {}, "class folders that are not among the 2 classes: bottom"),
        (lambda job: job.name_classes(("a", "b", "a")), {}, "names a class more than once"),
        (lambda job: job.channel("weights"), {}, "Channel 'weights' holds 0 .h5 files: it needs one"),
        (
            lambda job: (job.channel("weights") / "x.h5").write_bytes(b"no HDF5"),
            {"network": "MobileNet", "image_size": 32},
            "x.h5 of channel 'weights' does not hold the weights of MobileNet without its last layer",
        ),
        (
            lambda job: (job.channel("model") / "model.tar.gz").write_bytes(b"no archive"),
            {},
            "model.tar.gz cannot be unpacked",
        ),
        (
            lambda job: (job.channel("train") / "bottom" / "x.jpg").write_bytes(b"no image"),
            {},
            "bottom/x.jpg in channel 'train': the image cannot be decoded",
        ),
        (lambda job: None, {"freeze_epochs": 1}, "freeze_epochs=1 freezes random weights"),
        (lambda job: None, {"num_classes": 4}, "num_classes=4 differs from the 3 classes of the job"),
        (lambda job: None, {"network": "MobileNet2"}, "network=MobileNet2 does not exist: MobileNetV2 does."),
        (lambda job: None, {"network": "InceptionV3"}, "network=InceptionV3 cannot be made for image_size=24"),
        (lambda job: None, {"epoch": 3, "lr": 1}, "epoch of the hyperparameters does not exist (but epochs does); lr"),
        (
            lambda job: None,
            {"learning_rate": 100, "optimizer": "sgd", "weight_decay": 1},
            "The loss is not a number any more in epoch 0. Lower learning_rate=100",
        ),
    ],
    ids=range(14),
)
def test_what_cannot_be_done_is_the_failure_reason(
    job: ContainerJob,
    run: Run,
    damage: Callable[[ContainerJob], object],
    hyperparameters: dict[str, object],
    message: str,
) -> None:
    damage(job)

    ended = run(job, **hyperparameters)

    assert ended.code == 1
    assert ended.error.startswith("Error: ")
    assert ended.error.count("\n") == 1
    assert message in ended.error
    assert (job.base / "output" / "failure").read_text() == ended.error.removeprefix("Error: ").strip()


def test_a_loss_that_is_not_a_number_later_ends_training_with_the_best_model(
    job: ContainerJob, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "learning_rate", lambda _, epoch: 1e30 if epoch else 0.004)

    ended = run(job, epochs=3)

    assert ended.code == 0, ended.error
    assert "training ends, and an earlier epoch's model stays. Lower learning_rate=0.004" in ended.log
    assert [row["epoch"] for row in job.document("history.json")] == [0]


def test_an_archive_of_an_older_config_is_read(job: ContainerJob, trained: TrainedJob) -> None:
    copytree(trained.job.model, job.model)
    config = {**trained.job.document("config.json"), "gone_since": 1}
    del config["momentum"]
    (job.model / "config.json").write_text(json.dumps(config))

    assert load_model(job.model).config.image_size == QUICK["image_size"]


def test_records_without_class_names_need_their_number(tmp_path: Path, run: Run) -> None:
    job = ContainerJob(tmp_path).records(train=TRAIN, validation=VALIDATION)

    assert "The classes are not known: add a channel 'labels'" in run(job).error
    assert run(job, num_classes=3).code == 0
    assert job.document("classes.json") == ["0", "1", "2"]


def test_a_failure_that_nobody_foresaw_is_the_reason_too(
    job: ContainerJob, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoints, "read", lambda _: 1 / 0)

    ended = run(job)

    assert ended.code == 1
    assert "Traceback" in ended.error
    assert (job.base / "output" / "failure").read_text() == "ZeroDivisionError: division by zero"


def test_a_job_on_several_machines_is_refused(job: ContainerJob, run: Run) -> None:
    job.ask({})
    (job.base / "input" / "config" / "resourceconfig.json").write_text('{"hosts": ["algo-1", "algo-2"]}')

    assert "The job has 2 machines and this algorithm trains on one" in run(job).error

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.containers.conftest import Trained
from tests.containers.job_folder import (
    CLASSES,
    TRAIN_IMAGES,
    VALIDATION_IMAGES,
    JobFolder,
    JobMaker,
    corner_images,
    encoded,
    picture,
)

PREFIX = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] "
REPOSITORY = Path(__file__).parents[2]


def accuracies(log: str, kind: str = "Validation-accuracy") -> list[float]:
    return [float(value) for value in re.findall(rf"Epoch\[\d+\] {kind}=([0-9.]+)", log)]


def give_model(job: JobFolder, trained: JobFolder) -> JobFolder:
    """Put a trained model into the channel 'model', as SageMaker delivers it."""
    job.channel("model").mkdir(parents=True)
    with tarfile.open(job.channel("model") / "model.tar.gz", "w:gz") as archive:
        for path in trained.model.iterdir():
            archive.add(path, arcname=path.name)
    return job.declare()


def test_a_job_learns_and_leaves_the_artifacts_of_its_best_epoch(trained: Trained) -> None:
    assert trained.finished.code == 0, trained.finished.log
    reached = accuracies(trained.finished.log)
    best = reached.index(max(reached)) + 1
    assert max(reached) >= 0.9
    assert {path.name for path in trained.job.model.iterdir()} == {
        f"image-classification-{best:04d}.params",
        "image-classification-symbol.json",
        "model-shapes.json",
    }
    assert json.loads((trained.job.model / "model-shapes.json").read_text()) == [
        {"shape": [1, 3, 28, 28], "name": "data"}
    ]
    assert trained.finished.failure == ""


def test_log_lines_have_the_form_of_aws(trained: Trained) -> None:
    lines = [
        r"Epoch\[0\] Train-accuracy=\d\.\d{6}",
        r"Epoch\[0\] Train-top_k_accuracy_2=\d\.\d{6}",
        r"Epoch\[0\] Time cost=\d+\.\d{3}",
        r"Epoch\[0\] Validation-accuracy=\d\.\d{6}",
        r"Storing the best model with validation accuracy: \d\.\d{6}",
        r'Saved checkpoint to "/opt/ml/model/image-classification-0001\.params"',
    ]
    following = "\n".join(PREFIX + line for line in lines)
    assert re.search(f"^{following}$", trained.finished.log, re.MULTILINE), trained.finished.log


def test_the_published_metric_definitions_find_the_accuracies(trained: Trained) -> None:
    folder = REPOSITORY / "containers" / "image_classification"
    definitions = json.loads((folder / "metric_definitions.json").read_text())
    found = {entry["Name"]: re.findall(entry["Regex"], trained.finished.log) for entry in definitions}
    for channel, kind in (("train", "Train-accuracy"), ("validation", "Validation-accuracy")):
        expected = accuracies(trained.finished.log, kind)
        assert [float(value) for value in found[f"{channel}:accuracy"]] == expected
        assert [float(value) for value in found[f"{channel}:accuracy:epoch"]] == expected


def test_every_validation_image_counts_exactly_once(trained: Trained) -> None:
    for accuracy in accuracies(trained.finished.log):
        right = accuracy * VALIDATION_IMAGES
        assert abs(right - round(right)) < 1e-3


def test_the_last_partial_training_batch_is_dropped(make_job: JobMaker) -> None:
    finished = make_job(mini_batch_size=20, epochs=1).train()
    right = accuracies(finished.log, "Train-accuracy")[0] * (TRAIN_IMAGES // 20 * 20)
    assert abs(right - round(right)) < 1e-3


def test_a_multi_label_job_learns_with_weighted_loss(trained_multi_label: Trained) -> None:
    assert trained_multi_label.finished.code == 0, trained_multi_label.finished.log
    reached = accuracies(trained_multi_label.finished.log)
    assert max(reached) >= 0.8
    for accuracy in reached:
        right = accuracy * VALIDATION_IMAGES * CLASSES
        assert abs(right - round(right)) < 1e-2


def test_incremental_training_starts_where_the_model_ended(make_job: JobMaker, trained: Trained) -> None:
    job = give_model(make_job(epochs=1, learning_rate=0.01, use_pretrained_model=1), trained.job)
    finished = job.train()
    assert finished.code == 0, finished.log
    assert accuracies(finished.log)[0] > accuracies(trained.finished.log)[0]


def test_a_model_that_does_not_match_is_refused_by_name(make_job: JobMaker, trained: Trained) -> None:
    job = give_model(make_job(num_layers=32, image_shape="3,26,28", num_classes=5), trained.job)
    finished = job.train()
    assert finished.code == 1
    for expected in (
        "num_layers=32 differs from the model in channel 'model', which was trained with num_layers=20",
        "image_shape=3,26,28 differs",
        "num_classes=5 differs",
    ):
        assert expected in finished.failure
    assert "Epoch[" not in finished.log


def test_images_with_lists_train_as_records_do(tmp_path: Path) -> None:
    job = JobFolder(tmp_path)
    for channel, count in (("train", 48), ("validation", 12)):
        lines = []
        (job.channel(channel) / "some folder").mkdir(parents=True)
        for number, (label, _) in enumerate(corner_images(count)):
            name = f"some folder/{number}.png"
            (job.channel(channel) / name).write_bytes(encoded(picture(int(label), number, side=40, width=56), ".png"))
            lines.append(f"{number}\t{label:f}\t{name}\n")
        job.channel(f"{channel}_lst").mkdir()
        (job.channel(f"{channel}_lst") / f"{channel}.lst").write_text("".join(lines))
    job.declare("application/x-image")
    job.set(num_training_samples=48, resize=30, augmentation_type="crop_color_transform", epochs=1)
    finished = job.train()
    assert finished.code == 0, finished.log
    assert len(accuracies(finished.log)) == 1


def test_every_problem_is_told_at_once_before_any_epoch(make_job: JobMaker) -> None:
    finished = make_job(learning_rate=2, num_class=3, num_training_samples=90, mini_batch_size=40, top_k=9).train()
    assert finished.code == 1
    assert finished.failure.startswith("Customer Error: ")
    for expected in (
        "learning_rate='2' must be a number from 0 to 1",
        "'num_class' is unknown: did you mean num_classes?",
        "num_training_samples=90 differs from the 96 records",
        "channel 'validation' has 29 images, mini_batch_size=40",
        "top_k=9 must not be above num_classes=3",
    ):
        assert expected in finished.failure
        assert expected in finished.log
    assert "Epoch[" not in finished.log


def test_a_stopped_job_keeps_what_it_has(make_job: JobMaker) -> None:
    job = make_job(epochs=100000)
    process = job.start()
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "Epoch[0] Validation-accuracy" in line:
            process.send_signal(signal.SIGTERM)
            break
    finished = job.finish(process)
    assert finished.code == 0, seen + finished.log
    assert "as the service asked" in finished.log
    assert len(list(job.model.glob("*.params"))) == 1


def test_a_job_stopped_in_its_first_epoch_keeps_the_unfinished_weights(make_job: JobMaker) -> None:
    job = make_job(mini_batch_size=1, epochs=1, num_layers=110)
    process = job.start()
    assert process.stdout is not None
    for line in process.stdout:
        if "Batch [20]" in line:
            process.send_signal(signal.SIGTERM)
            break
    assert job.finish(process).code == 0
    assert (job.model / "image-classification-0001.params").exists()


def test_an_interrupted_job_goes_on_from_its_checkpoint(make_job: JobMaker) -> None:
    first = make_job("first", epochs=2, optimizer="adam", learning_rate=0.005)
    (first.base / "checkpoints").mkdir()
    before = first.train()
    assert before.code == 0, before.log
    again = make_job("again", epochs=3, optimizer="adam", learning_rate=0.005)
    (first.base / "checkpoints").rename(again.base / "checkpoints")
    after = again.train()
    assert after.code == 0, after.log
    assert "Resuming from the checkpoint after epoch 1" in after.log
    assert re.findall(r"Epoch\[(\d+)\] Validation", after.log) == ["2"]
    assert len(list(again.model.glob("*.params"))) == 1


def test_a_checkpoint_of_another_network_is_refused_by_name(make_job: JobMaker) -> None:
    first = make_job("first", epochs=1)
    (first.base / "checkpoints").mkdir()
    first.train()
    again = make_job("again", epochs=2, optimizer="nag")
    (first.base / "checkpoints").rename(again.base / "checkpoints")
    finished = again.train()
    assert finished.code == 1
    assert "optimizer=nag differs from the checkpoint, which was made with optimizer=sgd" in finished.failure


def test_checkpoint_frequency_keeps_every_so_many_epochs_and_the_last(make_job: JobMaker) -> None:
    job = make_job(checkpoint_frequency=2, epochs=3, mini_batch_size=29)
    assert job.train().code == 0
    assert sorted(path.name[-11:-7] for path in job.model.glob("*.params")) == ["0002", "0003"]


def test_early_stopping_ends_a_job_that_no_longer_improves(make_job: JobMaker) -> None:
    job = make_job(
        early_stopping=True, early_stopping_min_epochs=1, early_stopping_patience=1, learning_rate=0, epochs=9
    )
    finished = job.train()
    assert finished.code == 0, finished.log
    assert "Early stopping after epoch" in finished.log
    assert len(accuracies(finished.log)) < 9


def test_a_full_disk_is_told_and_leaves_no_half_model(job: JobFolder) -> None:
    job.model.mkdir()
    (job.model / ".image-classification-0001.params.part").symlink_to("/dev/full")
    finished = job.train()
    assert finished.code == 1
    assert finished.failure.startswith("Customer Error: no space left on the device of")
    assert list(job.model.glob("*.params*")) == []


def test_the_container_runs_from_wherever_it_was_copied_to(make_job: JobMaker, tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copytree(REPOSITORY / "containers" / "image_classification", program)
    job = make_job(num_classes=1)
    finished = subprocess.run(
        [program / "train"],
        check=False,
        env={**os.environ, "PYTHON": sys.executable, "SAGEMAKER_BASE_DIR": str(job.base)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 1
    assert "have a label outside 0..0" in finished.stdout


def test_a_command_that_is_neither_train_nor_serve_is_refused(job: JobFolder) -> None:
    finished = job.finish(job.start("predict"))
    assert finished.code == 2
    assert "train | serve" in finished.log

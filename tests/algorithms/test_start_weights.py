from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import torch

from job_folders import JobError
from model_files import load_archive, read_weights
from residual_network import ResidualNetwork
from tests.algorithms.conftest import Run, Trained
from tests.algorithms.job import Job, equal_weights


def archive(trained: Trained, folder: Path) -> None:
    """The model.tar.gz that SageMaker makes of the model folder."""
    with tarfile.open(folder / "model.tar.gz", "w:gz", compresslevel=1) as members:
        members.add(trained.job.model, ".")


def test_a_model_is_trained_further_from_its_archive_whatever_the_first_job_began_with(
    job: Job, run: Run, trained: Trained
) -> None:
    archive(trained, job.channel("model"))
    torch.save({}, job.channel("weights") / "resnet18.pth")

    ended = run(job, lr=1e-8)

    assert ended.code == 0, ended.error
    assert "Training continues from the model in channel 'model'" in ended.log
    assert "Channel 'weights' is not read: training starts from channel 'model'" in ended.log
    assert ended.epochs("Validation-accuracy") == [1.0]
    assert torch.allclose(job.trained().weights["fc.weight"], trained.job.trained().weights["fc.weight"], atol=1e-4)


def test_a_model_of_other_network_classes_and_labels_is_refused_naming_each(
    job: Job, run: Run, trained: Trained
) -> None:
    archive(trained, job.channel("model"))
    job.name_classes(("top left", "bottom", "middle"))

    ended = run(job, network="resnet34", multi_label=1)

    assert ended.code == 1
    assert "network=resnet34 (the model has resnet18); multi_label=True (the model has False); classes" in ended.error
    assert "the model has 3, the job 3: without top right; new middle" in ended.error
    assert "name its model.tar.gz in channel 'weights' instead" in ended.error


def test_classes_in_another_order_are_another_model(job: Job, run: Run, trained: Trained) -> None:
    archive(trained, job.channel("model"))

    assert "classes (the same in another order)" in run(job.name_classes(("top right", "top left", "bottom"))).error


def test_weights_for_other_classes_get_a_new_head_which_is_logged(job: Job, run: Run) -> None:
    """A file as torchvision writes it: 1,000 classes, and none of the counters that its first years lacked."""
    weights = ResidualNetwork("resnet18", 1000).state_dict()
    old = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, job.channel("weights") / "resnet18-f37072fd.pth")

    ended = run(job, freeze_epochs=1)

    assert ended.code == 0, ended.error
    assert "The head is new: the weights are of 1000 classes, the job has 3" in ended.log
    kept = job.trained().weights
    assert set(equal_weights(old, {**kept, "fc.weight": torch.zeros(0), "fc.bias": torch.zeros(0)})) == set(old) - {
        "fc.weight",
        "fc.bias",
    }
    assert kept["fc.weight"].shape == (3, 512)


def test_weights_of_another_network_are_refused_by_their_layers(job: Job, run: Run) -> None:
    torch.save(ResidualNetwork("resnet18", 3).state_dict(), job.channel("weights") / "weights.pth")

    ended = run(job, network="resnet34")

    assert "The weights are not those of network=resnet34: " in ended.error
    assert "the first is layer1.2.conv1.weight. Set hyperparameter network" in ended.error


def test_an_empty_channel_of_weights_is_refused(job: Job, run: Run) -> None:
    job.channel("weights")

    assert "Channel 'weights' holds neither a model.tar.gz nor a .pt or .pth file" in run(job).error


def test_a_pickled_network_is_not_read(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")

    with pytest.raises(JobError, match=r"cannot be read as weights: .* a saved network is not read"):
        read_weights(tmp_path / "model.pth")


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_within_a_training_checkpoint_are_found(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: {"module.fc.bias": torch.zeros(2)}}, tmp_path / "w.pth")

    assert list(read_weights(tmp_path / "w.pth")) == ["fc.bias"]


def test_an_archive_of_the_built_in_algorithm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model-shapes.json").write_text("[]")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as members:
        members.add(tmp_path / "model-shapes.json", "model-shapes.json")

    with pytest.raises(JobError, match=r"holds no model\.json and model\.pt: it was not trained by these scripts"):
        load_archive(tmp_path / "model.tar.gz")


def test_bytes_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"no archive")

    with pytest.raises(JobError, match="cannot be unpacked"):
        load_archive(tmp_path / "model.tar.gz")

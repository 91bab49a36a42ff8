from __future__ import annotations

import pytest

import train
from hyperparameters import Hyperparameters, read_hyperparameters
from job_folders import JobError
from tests.unit.docs.commands import shown


def test_values_come_as_the_toolkit_writes_them() -> None:
    chosen = read_hyperparameters(["--lr", "3e-3", "--batch_size", "64", "--flip", "False", "--loader-workers", "-1"])

    assert (chosen.lr, chosen.batch_size, chosen.flip, chosen.loader_workers) == (0.003, 64, False, -1)
    assert read_hyperparameters(["--network=ResNet34"]).network == "resnet34"
    assert read_hyperparameters([]) == Hyperparameters()


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(JobError) as raised:
        read_hyperparameters(
            [
                "--lr",
                "0",
                "--epoch",
                "3",
                "--network",
                "resnet20",
                "--batch_size",
                "1.5",
                "odd",
                "--seed",
                "--flip",
                "maybe",
            ]
        )

    message = str(raised.value)
    assert "hyperparameter lr=0 must be a number from 1e-08 to 100" in message
    assert "hyperparameter epoch does not exist: is epochs meant?" in message
    assert "hyperparameter network=resnet20 must be one of resnet18, resnet34, resnet50, resnet101" in message
    assert "hyperparameter batch_size=1.5 must be a whole number of at least 1" in message
    assert "argument 'odd' does not belong to a hyperparameter" in message
    assert "hyperparameter seed has no value" in message
    assert "hyperparameter flip=maybe must be one of 1, true, 0, false" in message


@pytest.mark.parametrize("value", ["nan", "inf", "", "0x10"])
def test_a_number_is_a_number(value: str) -> None:
    with pytest.raises(JobError, match="clip_gradient_norm"):
        read_hyperparameters([f"--clip_gradient_norm={value}"])


@pytest.mark.parametrize(("name", "value"), [("warmup_epochs", "2"), ("freeze_epochs", "3")])
def test_parts_of_a_training_are_not_longer_than_the_whole(name: str, value: str) -> None:
    with pytest.raises(JobError, match=f"{name}={value}.* must be .*epochs=2"):
        read_hyperparameters([f"--{name}", value, "--epochs", "2"])


def test_the_help_lists_every_hyperparameter(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = shown("python train.py *")

    assert train.main([*command.words[2:]]) == 0

    printed = capsys.readouterr().out
    assert all(f"  {name} (" in printed for name in Hyperparameters.__dataclass_fields__)

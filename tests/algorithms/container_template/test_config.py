from __future__ import annotations

from pathlib import Path

import pytest

from algorithms.container_template.classifier import settle
from algorithms.container_template.classifier.config import CONFIG_FILE, read_config
from algorithms.container_template.classifier.job_folders import JobError


def test_hyperparameters_come_before_the_config_file() -> None:
    config = read_config({"epochs": "3", "network": "ResNet50"})

    assert (config.epochs, config.network) == (3, "ResNet50")
    assert config.batch_size == read_config({}).batch_size == 32


def test_values_are_read_as_sdks_send_them() -> None:
    """SDKs write text as JSON; tuning jobs and the training toolkit add names of their own."""
    asked = {"optimizer": '"sgd"', "epochs": "4.0", "_tuning_objective_metric": "a", "sagemaker_region": '"b"'}
    config = read_config(asked)

    assert (config.optimizer, config.epochs) == ("sgd", 4)


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"lerning_rate": "1"}, "lerning_rate of the hyperparameters does not exist (but learning_rate does)"),
        ({"epochs": "0"}, "epochs=0 in the hyperparameters must be a whole number of at least 1."),
        ({"epochs": "2.5"}, "epochs=2.5 in the hyperparameters must be a whole number"),
        ({"epochs": "Infinity"}, "epochs=inf in the hyperparameters must be a whole number"),
        ({"dropout": "NaN"}, "dropout=nan in the hyperparameters must be a number of at least 0 and at most 0.95."),
        ({"batch_size": "true"}, "batch_size=True in the hyperparameters must be a whole number"),
        ({"optimizer": "lion"}, "optimizer=lion in the hyperparameters must be one of adam, adamw, sgd."),
        ({"network": "3"}, "network=3 in the hyperparameters must be a word."),
        (
            {"flip": "x", "seed": "-1"},
            "flip=x in the hyperparameters must be one of none, horizontal, vertical, both; ",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_every_value_that_cannot_be_is_named(hyperparameters: dict[str, str], message: str) -> None:
    with pytest.raises(JobError) as raised:
        read_config(hyperparameters)

    assert message in str(raised.value)


def test_a_config_file_with_other_names_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG_FILE.read_text().replace("seed =", "sed ="))

    with pytest.raises(JobError, match=r"config\.toml lacks seed: .*; sed of config\.toml does not exist \(but seed"):
        read_config({}, file)


def test_keras_runs_on_the_backend_that_is_installed_or_asked_for() -> None:
    environment: dict[str, str] = {"SM_NUM_CPUS": "3"}
    settle(environment)
    asked = {"KERAS_BACKEND": "jax"}
    settle(asked)

    assert (environment["KERAS_BACKEND"], environment["OMP_NUM_THREADS"]) == ("torch", "3")
    assert asked["KERAS_BACKEND"] == "jax"

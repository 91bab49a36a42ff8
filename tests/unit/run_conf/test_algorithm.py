from __future__ import annotations

from typing import Any

import pytest

from include.run_conf import RunConf, RunConfError

A = "training.algorithm"
SCRIPT = {f"{A}.kind": "script"}
CONTAINER = {f"{A}.kind": "container", f"{A}.image": "acme/flowers:1"}
TUNE = {"training.mode": "tune", "tuning.ranges": {"lr": [0.1, 0.2]}}


def problems_of(conf: dict[str, Any]) -> list[str]:
    try:
        RunConf.from_conf(conf)
    except RunConfError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "conf",
    [
        SCRIPT,
        CONTAINER,
        {**SCRIPT, "resources.instance_type": "ml.m5.large", f"{A}.source": "s3://acme/scripts/"},
        {**CONTAINER, "resources.instance_type": "ml.trn1.2xlarge"},
        {**SCRIPT, f"{A}.hyperparameters": {"lr": 0.1, "network": "resnet18", "flip": False, "epochs": 3}},
        {**SCRIPT, **TUNE},
        {**SCRIPT, "training.hyperparameters.image_shape": "3,224,224"},
        {**SCRIPT, f"{A}.sample_line": "Epoch[3] Validation-accuracy=0.932000"},
        {**SCRIPT, f"{A}.objective": {"metric": "validation:loss", "direction": "Minimize"}},
    ],
)
def test_what_a_script_or_a_container_may_be_asked(conf: dict[str, Any]) -> None:
    assert problems_of(conf) == []


def test_texts_stay_texts_and_numbers_numbers() -> None:
    given = {"version": "1.10", "lr": 0.1, "epochs": 3, "flip": True, "note": "true"}
    read = RunConf.from_conf({**SCRIPT, f"{A}.hyperparameters": given}).training.algorithm.hyperparameters

    assert read == given
    assert {name: type(value) for name, value in read.items()} == {name: type(value) for name, value in given.items()}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({f"{A}.kind": "container"}, f"{A}.image = nothing: a container needs one: give the address of its image"),
        (
            {f"{A}.hyperparameters": {"lr": 0.1}},
            f"{A}.hyperparameters = lr: are a script's or a container's, and {A}.kind is builtin: set "
            "training.hyperparameters, or the kind",
        ),
        (
            {f"{A}.image": "acme/flowers:1"},
            f"{A}.image = acme/flowers:1: {A}.kind is builtin: set that to container, or leave the image out",
        ),
        (
            {f"{A}.objective.direction": "Minimize"},
            f"{A}.objective = Minimize validation:accuracy: the built-in algorithm is compared by Maximize "
            "validation:accuracy only: leave it out",
        ),
        (
            {**SCRIPT, f"{A}.train_arguments": ["fit"]},
            f"{A}.train_arguments = ['fit']: are a container's, and {A}.kind is script: leave them out",
        ),
        (
            {**CONTAINER, **TUNE, f"{A}.train_arguments": ["fit"]},
            f"{A}.train_arguments = ['fit']: training.mode is tune, and AWS gives the jobs of a search no arguments: "
            "leave them out",
        ),
        (
            {**SCRIPT, "resources.instance_type": "ml.trn1.2xlarge"},
            f"resources.instance_type = ml.trn1.2xlarge: AWS's image of the framework is for CPUs and GPUs: choose "
            f"such a machine, or give {A}.image",
        ),
        (
            {**SCRIPT, f"{A}.metric_definitions": {"validation:accuracy": "acc=[0-9.]+"}},
            f"{A}.metric_definitions.validation:accuracy = acc=[0-9.]+: has 0 groups, and one must have the value: "
            "write (...) around the number, (?:...) else",
        ),
        (
            {**SCRIPT, f"{A}.metric_definitions": {"validation:accuracy": "acc=([0-9.+"}},
            f"{A}.metric_definitions.validation:accuracy = acc=([0-9.+: is not a regular expression: correct it",
        ),
        (
            {**SCRIPT, f"{A}.metric_definitions": {"loss": "loss=(.+)"}},
            f"{A}.objective.metric = validation:accuracy: is not one of {A}.metric_definitions (loss): define it, or "
            "choose one",
        ),
        (
            {**SCRIPT, f"{A}.sample_line": "val_acc 0.93"},
            f"{A}.sample_line = val_acc 0.93: shows no validation:accuracy: its regular expression "
            r"Epoch\[[0-9]+\] Validation-accuracy=([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?|nan) finds no number there; "
            "correct either",
        ),
        (
            {**SCRIPT, f"{A}.channels": "folders", "dataset.multi_label": True},
            f"{A}.channels = folders: an image of a multi-label dataset cannot be in one folder: choose recordio or "
            "manifest",
        ),
        (
            {**SCRIPT, f"{A}.channels": "manifest", "incremental.replay": 0.5},
            f"incremental.replay = 0.5: {A}.channels is manifest, a table of all images: leave it at 1",
        ),
        (
            {**SCRIPT, f"{A}.further_channels": {"train": "s3://acme/x"}},
            f"{A}.further_channels.train = train: is a channel that every job has: give it another name",
        ),
        (
            {**SCRIPT, f"{A}.further_channels": {"weights": "resnet.pth"}},
            f"{A}.further_channels.weights = resnet.pth: must be an address such as s3://my-bucket/weights.pth",
        ),
        (
            {**SCRIPT, f"{A}.hyperparameters": {"sagemaker_program": "x.py"}},
            f"{A}.hyperparameters.sagemaker_program = x.py: is a name that SageMaker keeps for itself, or too long: "
            "give it another one",
        ),
        (
            {**SCRIPT, f"{A}.hyperparameters": {"text": "x" * 2401}},
            f"{A}.hyperparameters.text = {'x' * 40}...: has 2401 characters, and 2,400 are allowed: give it as a "
            "channel",
        ),
        (
            {**SCRIPT, "training.mode": "tune"},
            "tuning.ranges = nothing: name the ranges: a script or a container has no usual ones",
        ),
        (
            {**SCRIPT, "training.mode": "tune", "tuning.ranges": {"lr": {"min": 0.5, "max": 0.1}}},
            "tuning.ranges.lr = 0.5 to 0.1 (Auto): min must be below max",
        ),
        (
            {**SCRIPT, "training.mode": "tune", "tuning.ranges": {"n": {"min": 0.5, "max": 2, "kind": "integer"}}},
            "tuning.ranges.n = 0.5 to 2 (Auto): needs whole numbers, as its kind is integer",
        ),
        (
            {**SCRIPT, "training.trials": [{"name": "a", "hyperparameters": {"num_layers": 50}}]},
            "training.trials.0.hyperparameters = num_layers: are the built-in algorithm's, and training.algorithm.kind "
            "is script: set training.trials.0.algorithm_hyperparameters",
        ),
        (
            {**SCRIPT, f"{A}.source": "../elsewhere"},
            f"{A}.source = ../elsewhere: must be a text such as algorithms/pytorch or s3://my-bucket/my-scripts/ or "
            "s3://my-bucket/sourcedir.tar.gz",
        ),
        (
            {**SCRIPT, f"{A}.hyperparameters": {"steps": [1, 2]}},
            f"{A}.hyperparameters.steps = [1, 2]: must be a text, a number, or true or false",
        ),
    ],
)
def test_what_contradicts_itself_is_named(conf: dict[str, Any], message: str) -> None:
    assert problems_of(conf) == [message]


def test_the_hyperparameters_of_a_trial_stand_over_those_of_the_run() -> None:
    conf = RunConf.from_conf(
        {
            **SCRIPT,
            f"{A}.hyperparameters": {"network": "resnet18", "lr": 0.1},
            "training.trials": [{"name": "deep", "algorithm_hyperparameters": {"network": "resnet50"}}],
        }
    )

    of_trial = conf.of_trial(conf.training.trials[0]).training.algorithm.hyperparameters
    assert of_trial == {"network": "resnet50", "lr": 0.1}


def test_a_sample_line_shows_the_objectives_value() -> None:
    asked = RunConf.from_conf({**SCRIPT, f"{A}.sample_line": "Epoch[3] Validation-accuracy=0.932000"})

    assert asked.training.algorithm.sample_value == 0.932

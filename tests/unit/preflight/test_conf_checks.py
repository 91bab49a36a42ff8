from __future__ import annotations

from typing import Any

import pytest

from include.preflight.conf_checks import ignored_notes
from include.run_conf import RunConf

RMSPROP = {"name": "b", "hyperparameters": {"optimizer": "rmsprop"}}
OPTIMIZER, BETA, MOMENTUM = (f"training.hyperparameters.{name}" for name in ("optimizer", "beta_1", "momentum"))
TUNE = {"training.mode": "tune"}


@pytest.mark.parametrize(
    ("conf", "notes"),
    [
        ({}, []),
        ({MOMENTUM: 0.8}, []),
        (
            {MOMENTUM: 0.8, OPTIMIZER: "adam"},
            ["training.hyperparameters.momentum = 0.8 has no effect: it is for sgd and nag, the optimizer is adam"],
        ),
        ({BETA: 0.8}, ["training.hyperparameters.beta_1 = 0.8 has no effect: it is for adam, the optimizer is sgd"]),
        (
            {
                MOMENTUM: 0.8,
                "training.trials": [{"name": "a"}, RMSPROP],
            },
            [
                "training.trials.1.hyperparameters.momentum = 0.8 has no effect: it is for sgd and nag, the optimizer "
                "is rmsprop"
            ],
        ),
        (
            {**TUNE, "tuning.ranges": {"beta_1": {"min": 0.5, "max": 0.9}}},
            ["tuning.ranges.beta_1 is searched in vain: it is for adam, the optimizer is sgd"],
        ),
        ({**TUNE, "tuning.ranges": {"beta_1": {"min": 0.5, "max": 0.9}, "optimizer": ["sgd", "adam"]}}, []),
        (
            {**TUNE, "tuning.ranges": {"gamma": {"min": 0.5, "max": 0.9}, "optimizer": ["sgd", "adam"]}},
            ["tuning.ranges.gamma is searched in vain: it is for rmsprop, the optimizer is sgd or adam"],
        ),
        (
            {"incremental.hyperparameters.eps": 1e-6},
            ["incremental.hyperparameters.eps = 1e-06 has no effect: it is for adam and rmsprop, the optimizer is sgd"],
        ),
        ({"incremental.hyperparameters.eps": 1e-6, "incremental.enabled": False}, []),
    ],
)
def test_what_the_optimizer_does_not_read_is_said(conf: dict[str, Any], notes: list[str]) -> None:
    assert list(ignored_notes(RunConf.from_conf(conf))) == notes

"""What the project sends of SageMaker Debugger beside what the SDK v2 sends of the same settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from include.run_conf import RunConf
from include.run_conf.debugger import PROFILED, SCANNED, TENSOR_RULES
from include.training.job_requests import debugger_fields
from tests.support.documents import settings
from tests.support.sdk import SDK_V2, run_script

WRITE_UP = {
    "rules": {
        "ProfilerReport": {},
        "VanishingGradient": {},
        "Overfit": {},
        "Overtraining": {},
        "PoorWeightInitialization": {},
        "ClassImbalance": {"labels_regex": "CrossEntropyLoss_input_1"},
    },
    "hook": {"train.save_interval": 100, "eval.save_interval": 10},
    "profiler": {"interval_ms": 500, "num_steps": 10},
}
USES: Mapping[str, Mapping[str, Any]] = {
    "the write-up": WRITE_UP,
    "the write-up elsewhere": WRITE_UP,
    "every rule": {"rules": {name: {} for name in TENSOR_RULES}},
    "collections": {
        "rules": {"VanishingGradient": {}},
        "collections": {"outputs": {"include_regex": ".*output"}, "gradients": {"save_interval": 50}},
    },
    "report": {"rules": {"ProfilerReport": {"CPUBottleneck_threshold": 60, "StepOutlier_mode": "TRAIN"}}},
    "framework": {"profiler": {"start_step": 5}},
    "no profiler": {"rules": {"Overfit": {}}, "profiler": {"enabled": False}},
}


@pytest.fixture(scope="module")
def of_sdk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("debugger")
    run_script(SDK_V2, Path(__file__).with_name("debugger_of_sdk_v2.py"), home / "result.json", home=home)
    found: dict[str, Any] = json.loads((home / "result.json").read_text())
    return found


def in_order(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request with its tensor collections by name: the SDK keeps them in a set."""
    hook = request["DebugHookConfig"]
    collections = sorted(hook["CollectionConfigurations"], key=lambda collection: str(collection["CollectionName"]))
    return {**request, "DebugHookConfig": {**hook, "CollectionConfigurations": collections}}


def test_every_use_of_debugger_is_sent_as_the_sdk_sends_it(of_sdk: Mapping[str, Any]) -> None:
    assert USES.keys() == of_sdk["sent"].keys()
    for use, debugger in USES.items():
        region = "eu-central-1" if use.endswith("elsewhere") else "us-east-1"
        conf = RunConf.from_conf({"training.debugger": debugger}).training.debugger
        ours = debugger_fields(conf, settings(region=region))

        assert in_order(ours) == in_order(of_sdk["sent"][use]), use


def test_the_report_takes_the_parameters_that_the_sdk_takes(of_sdk: Mapping[str, Any]) -> None:
    ours = {rule: sorted([*own, *SCANNED]) for rule, own in PROFILED.items()}
    theirs = {rule: sorted(set(names) - {"rule_to_invoke"}) for rule, names in of_sdk["profiled"].items()}

    assert ours == theirs

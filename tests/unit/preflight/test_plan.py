from __future__ import annotations

import pytest

from include.preflight.plan import planned_stages
from include.run_conf import PRESETS, Preset, RunConf


def plan_of(conf: dict[str, object]) -> dict[str, str]:
    return {stage.name: " ".join((*stage.does, stage.machines)) for stage in planned_stages(RunConf.read(conf)[0])}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_stage_of_a_preset_says_what_it_does(preset: Preset) -> None:
    assert all(plan_of({"preset": preset}).values())


def test_a_plan_says_what_is_built_trained_and_deployed() -> None:
    plan = plan_of(
        {
            "preset": "photographs",
            "dataset.name": "birds",
            "dataset.source": "s3://my-bucket/birds/",
            "dataset.labels": [f"bird-{number}" for number in range(8)],
            "resources.spot": True,
            "promotion.approval": "person",
            "endpoint.keep": False,
        }
    )

    assert "The images of s3://my-bucket/birds/ become a new version of birds." in plan["Dataset"]
    assert "bird-5 and 2 more classes" in plan["Dataset"]
    assert "ResNet-50 for images of 3,224,224, from ImageNet weights, 15 epochs." in plan["Training"]
    assert "ml.g4dn.xlarge spot, each job at most 24 h" in plan["Training"]
    assert "until a person approves it" in plan["Promotion"]
    assert plan["Endpoint"].startswith("The model is deployed to birds: all at once. The endpoint is deleted")


def test_what_is_switched_off_says_so() -> None:
    plan = plan_of({"incremental.enabled": False, "endpoint.deploy": False, "dataset.version": "7"})

    assert plan["Dataset"].strip() == "Version 7 of images is used as it is."
    assert plan["Incremental training"].strip() == "Off."
    assert plan["Endpoint"].strip() == "Off: the run ends with the registered model."


def test_a_stage_whose_fields_are_wrong_says_as_much_as_is_known() -> None:
    plan = plan_of({"training.mode": "guess", "dataset.name": "two words"})

    assert plan["Training"].strip() == ""
    assert plan["Dataset"].strip() == ""
    assert "batch transform" in plan["Evaluation"]

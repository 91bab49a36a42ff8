from __future__ import annotations

import pytest

from include.evaluation.diagnostics import diagnose
from include.evaluation.job_profile import profile_of
from tests.integration.evaluation.conftest import TrainedAs

AILING = {
    "vanishing": "VanishingGradient",
    "exploding": "ExplodingTensor",
    "poor": "PoorWeightInitialization",
    "dead": "DeadRelu",
    "stuck": "LossNotDecreasing",
    "overfitted": "Overfit",
    "overtrained": "Overtraining",
    "imbalanced": "ClassImbalance",
}


@pytest.mark.parametrize(("name", "rule"), AILING.items(), ids=AILING)
def test_what_is_wrong_with_a_training_is_found(trained_as: TrainedAs, name: str, rule: str) -> None:
    findings = {one.finding.rule: one.finding for one in diagnose(trained_as(name))}
    found = findings[rule]

    assert found.status == "found", found
    assert found.advice


def test_nothing_is_found_in_a_training_that_went_well(trained_as: TrainedAs) -> None:
    findings = {one.finding.rule: one.finding for one in diagnose(trained_as("healthy"))}

    assert {finding.status for finding in findings.values()} == {"fine"}, findings


@pytest.mark.parametrize("name", ["stuck", "overfitted", "overtrained", "exploding"])
def test_a_rule_does_not_find_what_another_one_is_for(trained_as: TrainedAs, name: str) -> None:
    found = [one.finding.rule for one in diagnose(trained_as(name)) if one.finding.status == "found"]

    assert found == [AILING[name]]


def test_a_step_that_waits_for_its_images_is_found(trained_as: TrainedAs) -> None:
    waiting, well = (
        next(finding for finding in profile_of(trained_as(name).traces).findings if finding.rule == "DataWait")
        for name in ("waiting", "healthy")
    )

    assert waiting.status == "found", waiting
    assert "of a step waits for data" in waiting.says
    assert well.status == "fine", well


def test_a_job_leaves_how_it_used_its_machine(trained_as: TrainedAs) -> None:
    profile = profile_of(trained_as("healthy").traces)

    assert 0 < profile.machine["cpu"]["mean"] <= 100
    assert 0 < profile.machine["memory"]["p95"] <= 100
    assert set(profile.step_seconds) == {"data", "forward", "backward", "update"}
    assert profile.steps == 12

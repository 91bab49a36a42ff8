"""What people and other DAGs are told when a model is registered."""

from __future__ import annotations

import json
from collections import defaultdict
from types import SimpleNamespace

import pytest

from image_classification.stages import promotion
from include.evaluation.metrics import Evaluation, Verdict
from include.run_conf import RunConf
from tests.support.documents import BEST_MODEL, VARIABLE, dataset_version, deployment_inputs
from tests.support.running_task import airflow_context


@pytest.mark.parametrize(
    ("approval", "accepted", "occasions"),
    [
        ("Approved", True, []),
        ("PendingManualApproval", False, ["refused"]),
        ("PendingManualApproval", True, ["awaiting approval"]),
        ("Rejected", True, ["refused"]),
    ],
)
def test_people_hear_of_a_model_that_is_not_approved_and_dags_of_every_one(
    monkeypatch: pytest.MonkeyPatch, approval: str, accepted: bool, occasions: list[str]
) -> None:
    told: list[tuple[str, str]] = []
    registered = deployment_inputs({}, approval)["model"] | {"reason": "Too far below."}
    monkeypatch.setattr(promotion, "announce", lambda _, occasion, text, **__: told.append((occasion, text)))
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(VARIABLE))
    context = airflow_context() | {"outlet_events": defaultdict(SimpleNamespace)}
    monkeypatch.setattr("image_classification.context.get_current_context", lambda: context)
    monkeypatch.setattr("include.promotion.verdict.refusal", lambda *_, **__: "")
    monkeypatch.setattr("include.promotion.champion.keep_run_conf", lambda *_, **__: "s3://b/run_conf.json")
    monkeypatch.setattr("include.sagemaker.job_results.describe_training_job", lambda *_: None)
    from include.deployment.registry import RegisteredModel  # noqa: PLC0415

    version = RegisteredModel.model_validate(registered)
    monkeypatch.setattr("include.deployment.registry.register_model", lambda *_, **__: version)
    verdict = Verdict(accepted=accepted, reason="", compare="not_worse", margin=0.01, minimum_accuracy=None)
    evaluation = Evaluation(
        job="j", images=400, accuracy=0.1, classes={}, report_uri="s3://b/r", metrics_uri="s3://b/m", verdict=verdict
    )

    promotion.register_model.function(
        RunConf().model_dump(mode="json"),
        dataset_version().model_dump(mode="json"),
        {"select_best": BEST_MODEL, "train_incremental": None},
        evaluation.model_dump(mode="json"),
    )

    assert [occasion for occasion, _ in told] == occasions
    said = f"{version.dataset} v{version.version}: 10.0% of 400 images, Too far below"
    assert {sentence for _, sentence in told} <= {said}
    assert context["outlet_events"][promotion.MODEL].extra == version.as_event()

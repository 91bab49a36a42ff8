"""The last task of a chain, for a DAG that has all stages or some."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from image_classification.tasks import summary
from tests.support.documents import dataset_version, deployment_inputs
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.running_task import run_as_task


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the task hands on beside what it returns."""
    documents: dict[str, Any] = {}
    run_as_task(monkeypatch, dag_id="deploy_endpoint", handed_on=documents)
    return documents


@pytest.mark.parametrize(
    "outcome",
    [
        ("Approved", {"name": "never-there"}, "Endpoint never-there: Deleted."),
        ("Rejected", None, "Not deployed: the model is Rejected."),
    ],
)
def test_a_dag_without_training_has_a_summary_of_its_deployment(
    aws: RunningLocalAws, pushed: dict[str, Any], caplog: pytest.LogCaptureFixture, outcome: tuple[str, Any, str]
) -> None:
    approval, deploy, last = outcome
    model = deployment_inputs({}, approval)["model"]
    deployed = {"deploy": deploy, "predict": None, "tear_down": None}

    with caplog.at_level(logging.INFO, logger=summary.__name__):
        figures = summary.sum_up.function(dataset_version().model_dump(mode="json"), None, None, model, deployed)

    bucket, _, key = pushed[summary.SUMMARY].removeprefix("s3://").partition("/")
    kept = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    assert (bucket, json.loads(kept)) == (BUCKET, figures)
    assert (figures["approval"], figures["training_jobs"], figures["report"]) == (approval, [], None)
    assert [line for line in caplog.messages if line != f"All figures: {pushed[summary.SUMMARY]}"][-1] == last
    assert max(len(line) for line in caplog.messages) < 200

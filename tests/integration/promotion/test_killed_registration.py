"""A registration that is killed at any step and tried again makes one version, with its reason; on the local AWS."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import uuid4

import pytest

from include.algorithms.kinds import algorithm_of
from include.deployment.registry import RegisteredModel, register_model
from include.evaluation.metrics import Evaluation, Verdict
from include.promotion.verdict import Decision, write_decision
from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult
from include.settings import Settings
from tests.support.documents import dataset_version, described_training_job
from tests.support.killed import KilledError, kill_after
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.served_models import RUN, registered

REASON = "Not worse than the champion."


def register(sagemaker: Any, settings: Settings, dataset: str, refusal: str) -> RegisteredModel:
    verdict = Verdict(accepted=True, reason=REASON, compare="not_worse", margin=0.01, minimum_accuracy=None)
    return register_model(
        sagemaker,
        job=JobResult.of_training_job(described_training_job(f"job-of-{dataset}")),
        evaluation=Evaluation(
            job="the-job",
            images=20,
            accuracy=0.9,
            classes={},
            report_uri=f"s3://{BUCKET}/reports/run/report.html",
            metrics_uri=f"s3://{BUCKET}/reports/run/metrics.json",
            verdict=verdict,
        ),
        dataset=dataset_version(name=dataset),
        algorithm=algorithm_of(RunConf(), settings),
        run=RUN,
        refusal=refusal,
    )


def versions(aws: RunningLocalAws, group: str) -> int:
    return len(aws.client("sagemaker").list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"])


@pytest.mark.parametrize(("refusal", "approval"), [("", "Approved"), ("Too weak.", "PendingManualApproval")])
def test_whenever_it_is_killed_there_is_one_version_with_its_reason(
    aws: RunningLocalAws, settings: Settings, refusal: str, approval: str
) -> None:
    steps = 0
    for step in itertools.count(1):
        dataset, mortal = f"pets-{uuid4().hex[:8]}", kill_after(step)
        try:
            register(mortal(aws.client("sagemaker")), settings, dataset, refusal)
        except KilledError:
            steps += 1
        else:
            break
        model = register(aws.client("sagemaker"), settings, dataset, refusal)

        assert (model.version, versions(aws, model.group)) == (1, 1)
        assert (model.approval, model.reason) == (approval, refusal or REASON)
    assert steps >= 5, "group looked for and made, versions listed, version made, read and explained"


def test_a_decision_that_is_killed_and_taken_again_is_taken_once(aws: RunningLocalAws, settings: Settings) -> None:
    decision = Decision(True, "Ada", "good enough")
    for step in itertools.count(1):
        model = register(aws.client("sagemaker"), settings, f"pets-{uuid4().hex[:8]}", "Too weak.")
        try:
            write_decision(kill_after(step)(aws.client("sagemaker")), model, decision, settings=settings)
        except KilledError:
            again = write_decision(aws.client("sagemaker"), model, decision, settings=settings)
            assert (again.approval, again.reason) == ("Approved", "Approved by Ada: good enough.")
        else:
            break


def test_a_registration_is_found_again_behind_many_that_came_after_it(aws: RunningLocalAws, settings: Settings) -> None:
    dataset = f"pets-{uuid4().hex[:8]}"
    first = register(aws.client("sagemaker"), settings, dataset, "")
    for _ in range(12):
        registered(aws, settings, dataset)

    assert register(aws.client("sagemaker"), settings, dataset, "").arn == first.arn
    assert versions(aws, first.group) == 13

"""What a registered version says of its comparison, on the local AWS: verdict, champion and reason."""

from __future__ import annotations

from typing import Any

import pytest

from include.algorithms.kinds import algorithm_of
from include.deployment.registry import RegisteredModel, read_model, register_model
from include.evaluation.metrics import Evaluation, Verdict
from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult
from include.settings import Settings
from tests.support.documents import dataset_version, described_training_job
from tests.support.local_aws import BUCKET
from tests.support.served_models import RUN

CHAMPION = "arn:aws:sagemaker:us-east-1:123456789012:model-package/image-classification-pets/7"
REASON = "Significantly worse than the champion (p below 0.001): its accuracy is 10.00%, the champion's 96.00%."


def judged(*, accepted: bool, champion: str = CHAMPION) -> Evaluation:
    """An evaluation beside a champion."""
    return Evaluation(
        job="the-job",
        images=20,
        accuracy=0.1,
        classes={},
        report_uri=f"s3://{BUCKET}/reports/run/report.html",
        metrics_uri=f"s3://{BUCKET}/reports/run/metrics.json",
        comparison_uri=f"s3://{BUCKET}/reports/run/comparison.json",
        champion=champion,
        verdict=Verdict(accepted=accepted, reason=REASON, compare="not_worse", margin=0.01, minimum_accuracy=None),
    )


def register(
    sagemaker: Any, settings: Settings, dataset: str, *, accepted: bool = False, champion: str = CHAMPION
) -> RegisteredModel:
    return register_model(
        sagemaker,
        job=JobResult.of_training_job(described_training_job(f"job-of-{dataset}")),
        evaluation=judged(accepted=accepted, champion=champion),
        dataset=dataset_version(name=dataset),
        algorithm=algorithm_of(RunConf(), settings),
        run=RUN,
        refusal="" if accepted else REASON,
    )


@pytest.mark.parametrize("accepted", [True, False])
def test_a_version_has_the_champion_it_was_compared_with_the_verdict_and_its_reason(
    sagemaker: Any, settings: Settings, pets: str, *, accepted: bool
) -> None:
    model = register(sagemaker, settings, pets, accepted=accepted)

    assert (model.champion, model.approved, model.reason) == (CHAMPION, accepted, REASON)
    assert model.verdict == ("accepted" if accepted else "refused")
    assert model == read_model(sagemaker, model.arn)


def test_a_champion_that_no_training_made_better_is_not_registered_again_however_old_it_is(
    sagemaker: Any, settings: Settings, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = register(sagemaker, settings, pets, accepted=True)
    monkeypatch.setattr("include.deployment.registry._of_job", lambda *_: None)  # many came after it

    again = register(sagemaker, settings, pets, accepted=True, champion=champion.arn)

    assert again == champion
    assert register(sagemaker, settings, pets, accepted=True).version == 2, "a deleted champion is no obstacle"


def test_a_registration_that_ended_before_its_reason_was_written_is_finished_by_the_next_try(
    sagemaker: Any, settings: Settings, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def killed(**_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(sagemaker, "update_model_package", killed)
        register(sagemaker, settings, pets)

    again = register(sagemaker, settings, pets)

    assert (again.version, again.approval, again.reason) == (1, "PendingManualApproval", REASON)
    assert again == read_model(sagemaker, again.arn)


def test_what_a_person_decided_is_not_changed_by_a_retried_registration(
    sagemaker: Any, settings: Settings, pets: str
) -> None:
    model = register(sagemaker, settings, pets)
    sagemaker.update_model_package(
        ModelPackageArn=model.arn, ModelApprovalStatus="Approved", ApprovalDescription="by Ada: good enough"
    )

    again = register(sagemaker, settings, pets)

    assert (again.version, again.approval, again.reason) == (1, "Approved", "by Ada: good enough")

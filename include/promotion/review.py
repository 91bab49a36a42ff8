"""What a person decides about a registered version: the question, the decision, and what is written of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.deployment.registry import Approval, RegisteredModel, decided
from include.promotion.champion import UnknownChampionError, champion_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.evaluation.metrics import Evaluation
    from include.run_conf import RunConf
    from include.settings import Settings

log = logging.getLogger(__name__)

ANYBODY = "a person without a name"


@dataclass(frozen=True)
class Decision:
    """Yes or no, by whom, and why."""

    approved: bool
    who: str
    reason: str

    def __str__(self) -> str:
        said = f"{'Approved' if self.approved else 'Rejected'} by {self.who or ANYBODY}"
        return f"{said}: {self.reason.rstrip('.')}." if self.reason else f"{said}."


def waiting_reason(conf: RunConf, evaluation: Evaluation) -> str:
    """Why an accepted model is not approved by itself; empty if it is."""
    if conf.promotion.approval == "automatic":
        return ""
    found = f" {evaluation.verdict.reason}" if evaluation.verdict else ""
    return f"It waits for a person, as promotion.approval asks.{found}"


def question(conf: RunConf, evaluation: Evaluation, model: RegisteredModel, *, report: str) -> tuple[str, str]:
    """What a person is asked, in a line and in Markdown; `report` is the page of the report."""
    interval = evaluation.accuracy_interval
    certain = f" (95 %: {interval.low:.2%} to {interval.high:.2%})" if interval else ""
    place = f"deploys it to the endpoint `{conf.endpoint_name}`" if conf.endpoint.deploy else "deploys nothing"
    lines = [
        evaluation.verdict.reason if evaluation.verdict else "",
        f"- Accuracy: {evaluation.accuracy:.2%}{certain} on {evaluation.images:,} held-out images",
        f"- Dataset version: {model.dataset_version}",
        f"- Training job: {model.job}",
        f"- [Report]({report})",
        "",
        f"Approve {place}. If you reject, or do not answer, what serves stays. The limit is {_hours(conf)}.",
    ]
    return f"Approve {model.group} version {model.version}?", "\n".join(lines)


def not_answered(conf: RunConf, model: RegisteredModel) -> str:
    """Why a version is still pending after the time in which a person could answer."""
    return f"Nobody answered within {_hours(conf)}. {model.reason or ''}".rstrip()


def _hours(conf: RunConf) -> str:
    return f"{conf.promotion.approval_hours:g} h"


def write_decision(
    sagemaker: SageMakerClient, model: RegisteredModel, decision: Decision, *, settings: Settings
) -> RegisteredModel:
    """Write a person's decision into the registry, with who took it and why; returns the version as it is then.

    A version that is approved with other classes than the champion's says so.
    """
    remark = _other_classes(sagemaker, model, settings) if decision.approved else ""
    if remark:
        log.warning("%s", remark)
    approval: Approval = "Approved" if decision.approved else "Rejected"
    reviewed = decided(sagemaker, model, approval, f"{decision} {remark}".rstrip())
    log.info("%s version %d is %s. %s", reviewed.group, reviewed.version, reviewed.approval, reviewed.reason)
    return reviewed


def _other_classes(sagemaker: SageMakerClient, model: RegisteredModel, settings: Settings) -> str:
    """That the version has other classes than the champion; empty if it does not, or if there is no champion."""
    try:
        champion = champion_of(sagemaker, settings=settings, dataset=model.dataset)
    except UnknownChampionError as error:
        return f"The champion is not known: {error}"
    if champion is None or champion.version.arn == model.arn or champion.version.label_set == model.label_set:
        return ""
    before = champion.version
    return (
        f"It has other classes ({model.classes or 'a number not known'}) than version {before.version} "
        f"({before.classes or 'a number not known'}), the champion: clients of the endpoint get other answers."
    )


def where_it_serves(sagemaker: SageMakerClient, model: RegisteredModel, settings: Settings) -> str:
    """The dataset's endpoint if it serves this version; else empty."""
    try:
        champion = champion_of(sagemaker, settings=settings, dataset=model.dataset)
    except UnknownChampionError:
        return ""
    serves = champion is not None and champion.live is not None and champion.version.arn == model.arn
    return champion.live.name if serves and champion and champion.live else ""

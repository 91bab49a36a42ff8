"""Whether a measured model may take the champion's place, and if not, why; and what a person decides about it.

Of a person: the question, the decision, and what is written of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.datasets.errors import DatasetError
from include.datasets.version import load
from include.deployment.registry import Approval, RegisteredModel, decided
from include.promotion.champion import UnknownChampionError, champion_of, live_endpoint
from include.training.best_model import label_set_fingerprint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.datasets.version import DatasetVersion
    from include.evaluation.metrics import Evaluation
    from include.run_conf import RunConf
    from include.settings import Settings

log = logging.getLogger(__name__)

MOST_NAMED = 5
"""Classes that a reason names."""
ANYBODY = "a person without a name"


@dataclass(frozen=True)
class LabelChange:
    """What a run with other classes would replace, and the name that has to be another one to replace nothing.

    `field` of the run conf is what differs, and `value` what the run has there.
    """

    found: str
    renamed: str
    field: str
    value: object


def refusal(
    sagemaker: SageMakerClient,
    s3: S3Client,
    *,
    conf: RunConf,
    settings: Settings,
    dataset: DatasetVersion,
    evaluation: Evaluation,
) -> str:
    """Why the model is not approved by itself, with all reasons; empty if it is.

    They are other classes than those it would replace, the verdict of its evaluation, and a champion that is another
    one by now.
    """
    verdict = evaluation.verdict
    if verdict is None:
        return "it was evaluated by an earlier release, which compared no models: run again"
    change = label_change(
        sagemaker, s3, conf=conf, settings=settings, labels=dataset.labels, multi_label=dataset.multi_label
    )
    reasons = [f"{change.found}, and promotion.allow_label_change is off"] if change else []
    if not verdict.accepted:
        reasons.append(verdict.reason)
    elif not change:
        reasons.append(
            changed_champion(
                sagemaker, conf=conf, settings=settings, dataset=dataset.name, compared=evaluation.champion
            )
        )
    return "; ".join(filter(None, reasons))


def changed_champion(
    sagemaker: SageMakerClient,
    *,
    conf: RunConf,
    settings: Settings,
    dataset: str,
    compared: str | None,
    own: str | None = None,
) -> str:
    """What took the champion's place since the evaluation, which says nothing of it; empty if nothing did.

    `compared` is the ARN of the version that was the champion then, `own` that of the model itself. Empty too if
    `promotion.compare` is off. What is not a registered version may be replaced if `promotion.allow_label_change` is
    on.
    """
    if conf.promotion.compare == "off":
        return ""
    try:
        champion = champion_of(sagemaker, settings=settings, dataset=dataset)
    except UnknownChampionError as error:
        return "" if conf.promotion.allow_label_change else str(error).rstrip(".")
    if champion is None or champion.version.arn in (compared, own):
        return ""
    before = f"with version {compared.rpartition('/')[2]}" if compared else "with none"
    return f"it was compared {before}, and version {champion.version.version} is the champion by now: run again"


def label_change(
    sagemaker: SageMakerClient,
    s3: S3Client,
    *,
    conf: RunConf,
    settings: Settings,
    labels: Sequence[str],
    multi_label: bool,
) -> LabelChange | None:
    """What a run with these classes would replace that is not known to have the same ones, in the same order.

    Nor may one of the two name several classes for each image (`multi_label`) and the other one class. What is replaced
    is the champion of the dataset, and what serves at the endpoint that the run would deploy to. None if
    `promotion.allow_label_change` is on.
    """
    if conf.promotion.allow_label_change:
        return None
    dataset, wanted = conf.dataset.name, label_set_fingerprint(labels)
    field, value = "dataset.labels", f"{len(labels)} classes"
    try:
        for subject, version, renamed in _replaced(sagemaker, conf, settings):
            learned_from = _learned_from(s3, version)
            theirs = learned_from.labels if learned_from else []
            if (version.label_set or label_set_fingerprint(theirs)) != wanted:
                return LabelChange(_difference(subject, version, theirs, labels), renamed, field, value)
            if learned_from and learned_from.multi_label != multi_label:
                before, after = ("several", "one") if learned_from.multi_label else ("one", "several")
                plural = "classes" if learned_from.multi_label else "class"
                found = f"{subject} {before} {plural} for each image, this run has {after}"
                return LabelChange(found, renamed, "dataset.multi_label", multi_label)
    except UnknownChampionError as error:
        renamed = "the dataset" if conf.endpoint_name == dataset else "the endpoint"
        return LabelChange(str(error).rstrip("."), renamed, field, value)
    return None


def _replaced(
    sagemaker: SageMakerClient, conf: RunConf, settings: Settings
) -> Iterator[tuple[str, RegisteredModel, str]]:
    """What is in the run's way: how it is called in a sentence, the version, and whose name leads there."""
    dataset, endpoint = conf.dataset.name, conf.endpoint_name
    champion = champion_of(sagemaker, settings=settings, dataset=dataset)
    if champion is not None:
        version = champion.version
        serves = f"the endpoint {champion.live.name} serves" if champion.live else ""
        yield serves or f"{version.group} version {version.version} has", version, "the dataset"
    if not conf.endpoint.deploy or (champion and champion.live and champion.live.name == endpoint):
        return
    live = live_endpoint(sagemaker, endpoint, settings=settings, dataset=dataset)
    if live is not None:
        yield f"the endpoint {endpoint} serves", live.version, "the dataset" if endpoint == dataset else "the endpoint"


def _difference(subject: str, version: RegisteredModel, known: Sequence[str], labels: Sequence[str]) -> str:
    """Both numbers of classes; if they are equal, the classes too."""
    count = len(known) or version.classes
    if count != len(labels):
        return f"{subject} {count or 'other'} classes, this run has {len(labels)}"
    if not known:
        return f"{subject} other classes than this run has"
    if sorted(known) == sorted(labels):
        return f"{subject} the same {count} classes in another order"
    lost = [label for label in known if label not in labels]
    new = [label for label in labels if label not in known]
    return f"{subject} {count} classes with {_named(lost)}, this run has {_named(new)} instead"


def _named(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
    return f"{' and '.join(labels) if len(labels) < 3 else ', '.join(labels[:MOST_NAMED])}{more}"


def _learned_from(s3: S3Client, version: RegisteredModel) -> DatasetVersion | None:
    """The dataset version that a model learned from; None if that was deleted."""
    try:
        return load(s3, version.dataset_uri)
    except DatasetError:
        return None


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
    """What a person is asked: the subject, and the text in Markdown; `report` is the page of the report."""
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

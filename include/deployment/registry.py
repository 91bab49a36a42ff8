"""The model registry: a group of versions for each dataset, each approved or left pending with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.sagemaker.api import existing, is_absent, pages_of
from include.sagemaker.containers import IMAGE_TYPES, ModelContainer
from include.sagemaker.job_results import AlgorithmKind, describe_training_job
from include.sagemaker.naming import tag_value, tags
from include.training.best_model import BestModel, label_set_fingerprint
from include.training.run_jobs import epochs_of_attempt

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient

    from include.algorithms.algorithm import Algorithm
    from include.datasets.version import DatasetVersion
    from include.evaluation.metrics import Evaluation
    from include.sagemaker.job_results import JobResult
    from include.sagemaker.naming import Run
    from include.settings import Settings

Approval = Literal["Approved", "Rejected", "PendingManualApproval"]
LONGEST_DESCRIPTION = 1024
NEWEST, A_DAY = 10, timedelta(days=1)
"""How far back a version of the same model is searched for: so many, and all that are younger."""


class NoModelError(ValueError):
    """There is no registered model of which a deployment could be made."""


class RegisteredModel(BaseModel):
    """A version in the model registry: where it came from and whether it may be deployed.

    `image` and `environment` are those of the container that answers with it, `content_types` those of the images that
    it takes. `source` is the address of the script that trained it, None if none did.

    `reason` is why it is approved, pending or rejected. `verdict` is what came out when it was registered, and
    `champion` the ARN of the version that it was compared with. `run_conf` is the address of the run conf it was
    trained with. These, except for `reason`, and `classes` and `packing` are None in versions that were registered
    before they were kept.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    arn: str
    group: str
    version: int
    approval: Approval
    artifact: str
    image: str
    environment: dict[str, str] = {}
    content_types: tuple[str, ...] = IMAGE_TYPES
    algorithm: AlgorithmKind = "builtin"
    source: str | None = None
    job: str
    base_job: str | None = None
    dataset: str
    dataset_version: str
    dataset_uri: str
    label_set: str | None = None
    classes: int | None = None
    packing: str | None = None
    accuracy: float
    report: str | None = None
    run_conf: str | None = None
    verdict: Literal["accepted", "refused"] | None = None
    champion: str | None = None
    reason: str | None = None

    @property
    def approved(self) -> bool:
        """Whether it may be deployed."""
        return self.approval == "Approved"

    @property
    def container(self) -> ModelContainer:
        """What answers with the model."""
        return ModelContainer(
            image=self.image,
            artifact=self.artifact,
            environment=self.environment,
            content_types=self.content_types,
        )

    def as_event(self) -> dict[str, Any]:
        """What other teams' DAGs receive about it, beside the asset that it is a version of."""
        names = {"dataset", "version", "arn", "approval", "accuracy", "verdict", "reason", "dataset_version", "report"}
        return self.model_dump(mode="json", include=names)


def register_model(
    sagemaker: SageMakerClient,
    *,
    job: JobResult,
    algorithm: Algorithm,
    evaluation: Evaluation,
    dataset: DatasetVersion,
    run: Run,
    refusal: str = "",
    waits: str = "",
    base_job: str | None = None,
    run_conf: str | None = None,
) -> RegisteredModel:
    """Register the model that the `algorithm` made in `job` as the next version of its dataset's group.

    The group is created if needed. It is approved by the verdict of its evaluation. A `refusal` is the reason for which
    it is left pending instead, and `waits` the one for which a person has to approve what was accepted. A model that
    this job has registered already is not registered again: a retried task makes no second version, nor does a run
    whose best model is the champion of `evaluation` still. `run_conf` is the address of the whole run conf, which a
    later retraining takes up. Raises ValueError for a job without an artifact.
    """
    if not job.artifact:
        raise ValueError(f"Training job {job.name} left no artifact, so nothing can be registered.")
    settings = algorithm.settings
    group = settings.registry_group(dataset.name)
    _ensure_group(sagemaker, group, tags=tags(settings, run))
    known = _champion_itself(sagemaker, evaluation.champion, group, job) or _of_job(sagemaker, group, job)
    if known:
        return known if known.reason else _explained(sagemaker, known, evaluation, refusal or waits)
    approval: Approval = "PendingManualApproval" if refusal or waits else "Approved"
    created = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelPackageDescription=_description(dataset, evaluation, refusal or waits),
        ModelApprovalStatus=approval,
        InferenceSpecification=algorithm.container(job.artifact).specification,  # type: ignore[arg-type]
        ModelMetrics={
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": evaluation.metrics_uri}}
        },
        CustomerMetadataProperties={
            **_lineage(job, evaluation, dataset, run, base_job),
            "verdict": "refused" if refusal else "accepted",
            **({"run-conf": run_conf} if run_conf else {}),
        },
    )
    return _explained(sagemaker, read_model(sagemaker, created["ModelPackageArn"]), evaluation, refusal or waits)


def _explained(
    sagemaker: SageMakerClient, model: RegisteredModel, evaluation: Evaluation, pending: str
) -> RegisteredModel:
    """The version with the reason for its approval, which cannot be given when it is created."""
    reason = pending or (evaluation.verdict.reason if evaluation.verdict else "")
    return decided(sagemaker, model, model.approval, reason) if reason else model


def decided(sagemaker: SageMakerClient, model: RegisteredModel, approval: Approval, reason: str) -> RegisteredModel:
    """The version once it has this approval, for this reason."""
    said = _in_one_line(reason)
    changed = {} if approval == model.approval else {"ModelApprovalStatus": approval}
    sagemaker.update_model_package(ModelPackageArn=model.arn, ApprovalDescription=said, **changed)  # type: ignore[arg-type]
    return model.model_copy(update={"approval": approval, "reason": said})


def read_model(sagemaker: SageMakerClient, arn: str) -> RegisteredModel:
    """The registered model with this ARN. Raises NoModelError for one that another tool registered without lineage."""
    return model_of(sagemaker.describe_model_package(ModelPackageName=arn))


def model_of(description: Mapping[str, Any]) -> RegisteredModel:
    """The registered model in an answer of DescribeModelPackage. Raises NoModelError as `read_model` does."""
    arn, properties = description["ModelPackageArn"], description.get("CustomerMetadataProperties") or {}
    absent = [key for key in ("training-job", "dataset", "dataset-version", "dataset-uri") if key not in properties]
    if absent:
        raise NoModelError(f"Model package {arn} has no {', '.join(absent)}: it was not registered by this project.")
    container = ModelContainer.of_specification(description["InferenceSpecification"])
    return RegisteredModel(
        arn=arn,
        group=description["ModelPackageGroupName"],
        version=description["ModelPackageVersion"],
        approval=description["ModelApprovalStatus"],
        artifact=container.artifact,
        image=container.image,
        environment=container.environment,
        content_types=container.content_types,
        algorithm=properties.get("algorithm", "builtin"),
        source=properties.get("source"),
        job=properties["training-job"],
        base_job=properties.get("base-job"),
        dataset=properties["dataset"],
        dataset_version=properties["dataset-version"],
        dataset_uri=properties["dataset-uri"],
        label_set=properties.get("label-set"),
        classes=int(properties["classes"]) if "classes" in properties else None,
        packing=properties.get("packing"),
        accuracy=float(properties.get("accuracy", 0)),
        report=properties.get("report"),
        run_conf=properties.get("run-conf"),
        verdict=properties.get("verdict"),
        champion=properties.get("champion"),
        reason=description.get("ApprovalDescription") or properties.get("reason"),
    )


def as_it_is_now(sagemaker: SageMakerClient, model: RegisteredModel) -> RegisteredModel | None:
    """The version with what was decided about it since it was read; None if it was deleted."""
    return _if_registered(sagemaker, model.arn)


def _if_registered(sagemaker: SageMakerClient, arn: str) -> RegisteredModel | None:
    try:
        return read_model(sagemaker, arn)
    except ClientError as error:
        if not is_absent(error):
            raise
        return None


def last_approved(sagemaker: SageMakerClient, *, settings: Settings, dataset: str) -> RegisteredModel | None:
    """The newest approved model of a dataset; None if there is none yet."""
    arns = _versions(sagemaker, settings.registry_group(dataset), ModelApprovalStatus="Approved", MaxResults=1)
    return read_model(sagemaker, arns[0]) if arns else None


def numbered(sagemaker: SageMakerClient, *, settings: Settings, dataset: str, version: int) -> RegisteredModel:
    """The version of this number of a dataset's models. Raises NoModelError if there is none."""
    group = settings.registry_group(dataset)
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    try:
        for page in pages:
            for summary in page["ModelPackageSummaryList"]:
                if summary.get("ModelPackageVersion") == version:
                    return read_model(sagemaker, summary["ModelPackageArn"])
    except ClientError as error:
        if not is_absent(error):
            raise
    raise NoModelError(f"{group} has no version {version}: choose a version that the model registry lists.")


def base_of(sagemaker: SageMakerClient, logs: CloudWatchLogsClient, model: RegisteredModel) -> BestModel:
    """The registered model as the one that an incremental training trains further.

    What it was sent and what it reached on the validation images is read from its training job and that job's log.
    """
    result = describe_training_job(sagemaker, model.job).with_epochs(epochs_of_attempt(sagemaker, logs, model.job))
    return BestModel(
        job=model.job,
        algorithm=result.algorithm,
        objective=result.objective,
        value=result.value,
        artifact=model.artifact,
        hyperparameters=result.hyperparameters,
        billable_seconds=result.billable_seconds,
        dataset_uri=model.dataset_uri,
        label_set=model.label_set,
    )


def _ensure_group(sagemaker: SageMakerClient, group: str, *, tags: list[dict[str, str]]) -> None:
    if existing(sagemaker.describe_model_package_group, ModelPackageGroupName=group) is None:
        sagemaker.create_model_package_group(
            ModelPackageGroupName=group,
            ModelPackageGroupDescription="Image classifiers of one dataset, a version for each trained model.",
            Tags=tags,  # type: ignore[arg-type]
        )


def _champion_itself(
    sagemaker: SageMakerClient, champion: str | None, group: str, job: JobResult
) -> RegisteredModel | None:
    """The champion if it is the model of `job`, however many versions came after it."""
    if champion is None:
        return None
    model = _if_registered(sagemaker, champion)
    return model if model and (model.group, model.artifact) == (group, job.artifact) else None


def _of_job(sagemaker: SageMakerClient, group: str, job: JobResult) -> RegisteredModel | None:
    """The version with the model of `job`, searched among the newest ones and all of a day: a retry follows soon.

    The artifact has to be the job's own: two deployments in one account may call their jobs alike.
    """
    since = datetime.now(UTC) - A_DAY
    newest_first = {"SortBy": "CreationTime", "SortOrder": "Descending"}
    found = pages_of(
        sagemaker, "list_model_packages", "ModelPackageSummaryList", ModelPackageGroupName=group, **newest_first
    )
    for place, summary in enumerate(found):
        if place >= NEWEST and summary["CreationTime"] < since:
            return None
        described = sagemaker.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
        if (described.get("CustomerMetadataProperties") or {}).get("training-job") == job.name:
            model = model_of(described)
            if model.artifact == job.artifact:
                return model
    return None


def _versions(sagemaker: SageMakerClient, group: str, **filters: Any) -> list[str]:
    """ARNs of a group's versions, the newest first."""
    try:
        found = sagemaker.list_model_packages(
            ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending", **filters
        )
    except ClientError as error:
        if is_absent(error):
            return []
        raise
    return [summary["ModelPackageArn"] for summary in found["ModelPackageSummaryList"]]


def _description(dataset: DatasetVersion, evaluation: Evaluation, refusal: str) -> str:
    reached = f"{dataset.name} {dataset.version}, accuracy {evaluation.accuracy:.4f}"
    return _in_one_line(f"{reached}. Waits for approval: {refusal}") if refusal else reached


def _in_one_line(text: str) -> str:
    """A text as descriptions in the registry allow it: without line breaks, and not longer."""
    return " ".join(text.split())[:LONGEST_DESCRIPTION]


def _lineage(
    job: JobResult, evaluation: Evaluation, dataset: DatasetVersion, run: Run, base_job: str | None
) -> dict[str, str]:
    facts = {
        "training-job": job.name,
        "algorithm": job.algorithm,
        "source": job.source,
        "base-job": base_job,
        "dataset": dataset.name,
        "dataset-version": dataset.version,
        "dataset-uri": dataset.uri,
        "label-set": label_set_fingerprint(dataset.labels),
        "classes": str(dataset.num_classes),
        "packing": " ".join(f"{option}={value}" for option, value in dataset.packing.as_dict().items()),
        "dag": run.dag_id,
        "run": run.run_id,
        "accuracy": f"{evaluation.accuracy:.6f}",
        "champion": evaluation.champion if evaluation.comparison_uri else None,
        "report": evaluation.report_uri,
    }
    return {key: tag_value(value) for key, value in facts.items() if value}

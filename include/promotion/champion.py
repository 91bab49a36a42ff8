"""The champion of a dataset: the registered version that its endpoint serves, or else the one that was promoted last.

Three look-ups lead from a dataset to its champion, and none of them is a guess. A tag of the dataset's model package
group names the endpoint and the version of the last deployment. The endpoint names its configuration, and that its
model. A tag of the model names the registered version. A model without that tag (a person made it, or an earlier
release of this project) is recognised by its artifact, or by the model package that it was made from.

The run conf is kept with a registered model, so that a later unattended run does as a person chose.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ParamValidationError
from pydantic import BaseModel, ConfigDict

from include.algorithms.algorithm import Algorithm
from include.algorithms.kinds import algorithm_of
from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri
from include.datasets.version import lineage, load
from include.deployment.hosting import KEEP_PREVIOUS_TAG, KEEP_TAG, VERSION_TAG
from include.deployment.registry import NoModelError, RegisteredModel, base_of, last_approved, numbered, read_model
from include.deployment.traffic import SCALING_TAG, Scaling
from include.evaluation import write_beside_report
from include.problems import Problem, ProblemsError
from include.run_conf import RunConf, RunConfError
from include.run_conf.reading import parsed
from include.sagemaker.api import existing, is_absent, pages_of
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import tags_of
from include.training.best_model import BestModel, label_set_fingerprint
from include.training.run_jobs import epochs_of_attempt

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.datasets.version import DatasetVersion
    from include.sagemaker.naming import Run
    from include.settings import Settings

log = logging.getLogger(__name__)

ENDPOINT_TAG = "endpoint"
PROMOTED_TAG = "promoted"
"""Tags of a model package group: the endpoint of the last deployment, and the version that was deployed there."""
SERVES_NOTHING = frozenset({"Creating", "Failed", "Deleting", "OutOfService"})
RUN_CONF_FILE = "run_conf.json"


class UnknownChampionError(ValueError):
    """An endpoint serves what is not a registered version of its dataset; the message names what was found."""

    def __init__(self, endpoint: str, message: str) -> None:
        self.endpoint = endpoint
        super().__init__(message)


@dataclass(frozen=True)
class LiveEndpoint:
    """An endpoint that serves, how it does, and the registered version behind it.

    `keep` and `keep_previous` are those of the run that deployed to it last; the latter is None if that was an earlier
    release. The count is how many machines it is to have now. Machine and count are None if the endpoint has none of
    its own, the memory (MB) and the concurrency if it is not serverless.
    """

    name: str
    config: str
    version: RegisteredModel
    instance_type: str | None
    instance_count: int | None
    keep: bool
    memory_mb: int | None = None
    concurrency: int | None = None
    capture_percent: int = 0
    scaling: Scaling | None = None
    keep_previous: int | None = None

    def as_conf(self) -> dict[str, Any]:
        """The fields of `endpoint` in a run conf that leave it as it is."""
        machine: dict[str, Any] = {"instance_type": self.instance_type, "instance_count": self.instance_count}
        if self.scaling and self.instance_count:
            machine["instance_count"] = min(max(self.instance_count, self.scaling.minimum), self.scaling.maximum)
        machine["keep_previous"] = self.keep_previous
        known = {name: value for name, value in machine.items() if value is not None}
        serverless: dict[str, Any] = {"serverless": {"memory_mb": self.memory_mb}}
        if self.memory_mb is not None:
            serverless = {
                "instance_count": 1,
                "serverless": {"memory_mb": self.memory_mb, "concurrency": self.concurrency},
                "rollout": {"kind": "all_at_once", "wait_seconds": None},
            }
        scaling = self.scaling
        scaled = {"minimum": scaling.minimum, "maximum": scaling.maximum, "target": scaling.target} if scaling else {}
        captured = {
            "capture_percent": self.capture_percent,
            "autoscaling": scaled or {"minimum": 1, "maximum": None, "target": None},
        }
        return {"name": self.name, "deploy": True, "keep": self.keep, **known, **captured, **serverless}


@dataclass(frozen=True)
class Champion:
    """The version from which a dataset's next model has to come, and the endpoint that serves it, if one does."""

    version: RegisteredModel
    live: LiveEndpoint | None
    reason: str

    def __str__(self) -> str:
        return f"{self.version.group} version {self.version.version}, {self.reason}"


class FoundChampion(BaseModel):
    """The champion at the moment when a run's model is evaluated.

    `unlike` is why the two cannot be compared, empty if they can. Test images from the record id `first_new_record` on
    are new to the champion; it is None if the dataset version did not grow from the champion's.
    """

    model_config = ConfigDict(frozen=True)

    version: RegisteredModel
    first_new_record: int | None = None
    unlike: str = ""


def champion_beside(
    sagemaker: SageMakerClient, s3: S3Client, *, settings: Settings, dataset: DatasetVersion, artifact: str
) -> FoundChampion | None:
    """The champion beside the model of this `artifact`, which learned from `dataset`; None if there is no champion.

    Raises UnknownChampionError as `champion_of` does.
    """
    champion = champion_of(sagemaker, settings=settings, dataset=dataset.name)
    if champion is None:
        return None
    version = champion.version
    if version.artifact == artifact:
        return FoundChampion(version=version, unlike="it is the champion itself")
    try:
        learned_from = load(s3, version.dataset_uri)
    except DatasetError:
        known, multi_label = version.label_set, dataset.multi_label
    else:
        known, multi_label = label_set_fingerprint(learned_from.labels), learned_from.multi_label
    if known != label_set_fingerprint(dataset.labels):
        return FoundChampion(version=version, unlike="the champion has other classes")
    if multi_label != dataset.multi_label:
        several = "several classes" if multi_label else "one class"
        return FoundChampion(version=version, unlike=f"the champion names {several} for each image")
    return FoundChampion(version=version, first_new_record=_first_new_record(s3, dataset, version.dataset_uri))


def champion_of(sagemaker: SageMakerClient, *, settings: Settings, dataset: str) -> Champion | None:
    """What the dataset's endpoint serves; if nothing serves, the version that was promoted last.

    A dataset of which no version was ever deployed has its newest approved version as champion, and None without one.
    Raises UnknownChampionError if the endpoint serves anything else than a version of this dataset.
    """
    group = existing(sagemaker.describe_model_package_group, ModelPackageGroupName=settings.registry_group(dataset))
    if group is None:
        return None
    promoted = tags_of(sagemaker, group["ModelPackageGroupArn"])
    if ENDPOINT_TAG in promoted:
        live = live_endpoint(sagemaker, promoted[ENDPOINT_TAG], settings=settings, dataset=dataset)
        if live is not None and live.version.group != group["ModelPackageGroupName"]:
            raise UnknownChampionError(
                live.name,
                f"Endpoint {live.name} serves {live.version.group} version {live.version.version}, and the last model "
                f"of {dataset} was deployed there: deploy a version of {dataset} again, with deploy_endpoint.",
            )
    else:
        live = _endpoint_called_as(sagemaker, dataset, settings)
    if live is not None:
        return Champion(live.version, live, f"which endpoint {live.name} serves")
    if version := _still_registered(sagemaker, promoted.get(PROMOTED_TAG)):
        return Champion(version, None, "which was promoted last; no endpoint serves now")
    newest = last_approved(sagemaker, settings=settings, dataset=dataset)
    return Champion(newest, None, "the newest approved one; none was deployed yet") if newest else None


def live_endpoint(sagemaker: SageMakerClient, name: str, *, settings: Settings, dataset: str) -> LiveEndpoint | None:
    """The endpoint of this name and the version that it serves; None if there is none that serves.

    `dataset` is whose versions are searched for the artifact of a model without tags. Raises UnknownChampionError if no
    registered version is behind the endpoint, or several models are.
    """
    endpoint = existing(sagemaker.describe_endpoint, EndpointName=name)
    if endpoint is None or endpoint["EndpointStatus"] in SERVES_NOTHING:
        return None
    config = endpoint["EndpointConfigName"]
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config) or {}
    variants = described.get("ProductionVariants")
    models = sorted({variant["ModelName"] for variant in variants or () if "ModelName" in variant})
    if len(models) != 1:
        without = "no model of its own" if variants else "a configuration that was deleted"
        found = f"{len(models)} models ({', '.join(models)})" if models else without
        raise UnknownChampionError(name, f"Endpoint {name} serves {found}, configuration {config}: {_remedy(dataset)}")
    version = _version_behind(sagemaker, models[0], settings=settings, dataset=dataset)
    if version is None:
        raise UnknownChampionError(
            name,
            f"Endpoint {name} serves model {models[0]} (configuration {config}), which is not a registered version of "
            f"{settings.registry_group(dataset)}: {_remedy(dataset)}",
        )
    variant: Mapping[str, Any] = variants[0]  # type: ignore[index]
    noted = tags_of(sagemaker, endpoint["EndpointArn"])
    serverless, capture = variant.get("ServerlessConfig") or {}, described.get("DataCaptureConfig") or {}
    return LiveEndpoint(
        name=name,
        config=config,
        version=version,
        instance_type=variant.get("InstanceType"),
        instance_count=_count(endpoint, variant),
        keep=noted.get(KEEP_TAG) != "false",
        keep_previous=int(noted.get(KEEP_PREVIOUS_TAG) or 0) or None,
        scaling=Scaling.of_tag(noted.get(SCALING_TAG)),
        memory_mb=serverless.get("MemorySizeInMB"),
        concurrency=serverless.get("MaxConcurrency"),
        capture_percent=int(capture.get("InitialSamplingPercentage", 0)) if capture.get("EnableCapture") else 0,
    )


def _count(endpoint: Mapping[str, Any], variant: Mapping[str, Any]) -> int | None:
    """The machines that a described endpoint is to have: a person or its scaling may have changed the first count."""
    if "InstanceType" not in variant:
        return None
    live: Mapping[str, Any] = next(iter(endpoint.get("ProductionVariants", ())), {})
    count: int | None = live.get("DesiredInstanceCount") or variant.get("InitialInstanceCount")
    return count


def record_promotion(sagemaker: SageMakerClient, version: RegisteredModel, *, endpoint: str, keep: bool) -> None:
    """Note on the version's group that this endpoint serves it now.

    A deployment for a moment (`keep` is false) beside an endpoint that serves the dataset is a trial and not noted.
    """
    group = existing(sagemaker.describe_model_package_group, ModelPackageGroupName=version.group)
    if group is None:
        log.warning("Group %s was deleted from the registry: endpoint %s is not noted.", version.group, endpoint)
        return
    arn = group["ModelPackageGroupArn"]
    noted = tags_of(sagemaker, arn).get(ENDPOINT_TAG)
    if not keep and noted not in (None, endpoint):
        other = existing(sagemaker.describe_endpoint, EndpointName=noted)
        if other is not None and other["EndpointStatus"] not in SERVES_NOTHING:
            log.info("%s keeps its champion at endpoint %s: %s is not kept.", version.dataset, noted, endpoint)
            return
    tags = {ENDPOINT_TAG: endpoint, PROMOTED_TAG: version.arn}
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def _first_new_record(s3: S3Client, dataset: DatasetVersion, known: str) -> int | None:
    """The first record that the version at the address `known` did not have, if `dataset` grew from it."""
    for version in lineage(s3, dataset):
        if version.uri == known:
            return version.next_record_id
    return None


def _endpoint_called_as(sagemaker: SageMakerClient, dataset: str, settings: Settings) -> LiveEndpoint | None:
    """The dataset's endpoint if an earlier release deployed to it, which left no note; None for somebody else's."""
    try:
        live = live_endpoint(sagemaker, dataset, settings=settings, dataset=dataset)
    except UnknownChampionError:
        return None
    return live if live is not None and live.version.group == settings.registry_group(dataset) else None


def _version_behind(
    sagemaker: SageMakerClient, name: str, *, settings: Settings, dataset: str
) -> RegisteredModel | None:
    """The registered version that a model is; None if it is none."""
    model = existing(sagemaker.describe_model, ModelName=name)
    if model is None:
        return None
    tags = tags_of(sagemaker, model["ModelArn"])
    containers = [model["PrimaryContainer"]] if "PrimaryContainer" in model else model.get("Containers", [])
    container: Mapping[str, Any] = containers[0] if len(containers) == 1 else {}
    if version := _still_registered(sagemaker, tags.get(VERSION_TAG) or container.get("ModelPackageName")):
        return version
    made_for = tags.get("dataset-version", "").partition("/")[0] or dataset
    return _with_artifact(sagemaker, settings.registry_group(made_for), container.get("ModelDataUrl"))


def _still_registered(sagemaker: SageMakerClient, arn: str | None) -> RegisteredModel | None:
    """The version of this ARN; None if it was deleted, or another tool registered it."""
    if arn is None:
        return None
    try:
        return read_model(sagemaker, arn)
    except NoModelError:
        return None
    except ClientError as error:
        if not is_absent(error):
            raise
        return None


def _with_artifact(sagemaker: SageMakerClient, group: str, artifact: str | None) -> RegisteredModel | None:
    """The newest version of the group that has this artifact."""
    if artifact is None or existing(sagemaker.describe_model_package_group, ModelPackageGroupName=group) is None:
        return None
    newest_first = {"SortBy": "CreationTime", "SortOrder": "Descending"}
    for summary in pages_of(
        sagemaker, "list_model_packages", "ModelPackageSummaryList", ModelPackageGroupName=group, **newest_first
    ):
        version = _still_registered(sagemaker, summary["ModelPackageArn"])
        if version is not None and version.artifact == artifact:
            return version
    return None


def _remedy(dataset: str) -> str:
    return f"deploy a registered version of {dataset} with deploy_endpoint, or delete the endpoint."


def starting_model(
    sagemaker: SageMakerClient,
    logs: CloudWatchLogsClient,
    s3: S3Client,
    conf: RunConf,
    *,
    settings: Settings,
    dataset: DatasetVersion | None = None,
) -> BestModel:
    """The earlier model that `incremental.from` names.

    Of an address whose job is not known the network is that of `training.hyperparameters`, the classes are those of
    `dataset`. Raises ProblemsError, which names the field, if there is no such model.
    """
    start, name = conf.incremental.start, conf.dataset.name
    try:
        if start == "champion":
            champion = champion_of(sagemaker, settings=settings, dataset=name)
            if champion is None:
                raise NoModelError(f"{name} has none yet: train from scratch, or name another model")
            return base_of(sagemaker, logs, champion.version)
        if start.isdecimal():
            return base_of(sagemaker, logs, numbered(sagemaker, settings=settings, dataset=name, version=int(start)))
        if start.startswith("s3://"):
            return _model_at(sagemaker, logs, s3, algorithm_of(conf, settings), dataset)
        return _model_of_job(sagemaker, logs, s3, start)
    except (NoModelError, UnknownChampionError) as error:
        raise ProblemsError([Problem(field="incremental.from", value=start, remedy=str(error))]) from error


def _model_of_job(sagemaker: SageMakerClient, logs: CloudWatchLogsClient, s3: S3Client, name: str) -> BestModel:
    description = existing(sagemaker.describe_training_job, TrainingJobName=name)
    if description is None:
        raise NoModelError("there is no such training job: name a finished one, or a registered version by its number")
    job = JobResult.of_training_job(description).with_epochs(epochs_of_attempt(sagemaker, logs, name))
    if not job.artifact:
        raise NoModelError(f"is {job.status} and left no model: name a finished training job")
    try:
        learned_from = load(s3, job.dataset_uri) if job.dataset_uri else None
    except DatasetError:
        learned_from = None
    return BestModel(
        job=name,
        algorithm=job.algorithm,
        objective=job.objective,
        value=job.value,
        artifact=job.artifact,
        hyperparameters=job.hyperparameters,
        billable_seconds=job.billable_seconds,
        dataset_uri=job.dataset_uri,
        label_set=label_set_fingerprint(learned_from.labels) if learned_from else None,
    )


def _model_at(
    sagemaker: SageMakerClient,
    logs: CloudWatchLogsClient,
    s3: S3Client,
    algorithm: Algorithm,
    dataset: DatasetVersion | None,
) -> BestModel:
    """The model at an address: of the job that the address names, if that is its artifact."""
    uri = algorithm.conf.incremental.start
    bucket, key = parse_s3_uri(uri)
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        status = error.response["Error"]["Code"]
        raise NoModelError(f"cannot be read ({status}): check the address, and s3:GetObject of the role") from error
    parts = key.split("/")
    if len(parts) > 2 and parts[-2:] == ["output", "model.tar.gz"]:
        try:
            found = _model_of_job(sagemaker, logs, s3, parts[-3])
        except (NoModelError, ClientError, ParamValidationError):
            found = None
        if found is not None and found.artifact == uri:
            return found
    return BestModel(
        job=uri,
        algorithm=algorithm.kind,
        objective=algorithm.objective,
        value=None,
        artifact=uri,
        hyperparameters=algorithm.base_hyperparameters(dataset),
    )


def keep_run_conf(s3: S3Client, conf: RunConf, *, settings: Settings, run: Run) -> str:
    """Write the whole run conf into the run's report folder; returns its address."""
    return write_beside_report(s3, RUN_CONF_FILE, conf, settings=settings, run=run)


def kept_run_conf(s3: S3Client, model: RegisteredModel) -> RunConf | None:
    """The run conf that the model was trained with; None if none was kept, or the file is gone.

    Raises RunConfError, which names the file, if it cannot be read.
    """
    if model.run_conf is None:
        return None
    bucket, key = parse_s3_uri(model.run_conf)
    try:
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise
    try:
        document = parsed(text)
    except ValueError as error:
        raise RunConfError([Problem(field=model.run_conf, remedy=f"is not JSON: {error}")]) from None
    if not isinstance(document, dict):
        raise RunConfError([Problem(field=model.run_conf, value=document, remedy="is not a JSON object")])
    conf, problems = RunConf.read(document)
    if problems:
        place = f"in {model.run_conf}, the run conf of {model.group} version {model.version}"
        raise RunConfError(problem.model_copy(update={"remedy": f"{problem.remedy} ({place})"}) for problem in problems)
    return conf

"""Bodies of CreateTrainingJob and CreateHyperParameterTuningJob.

Sources: API reference of both calls; developer guide, "Image Classification Algorithm" (channels, content types) and
"Incremental Training in Amazon SageMaker" (the `model` channel).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from include.sagemaker.image_uris import METRIC_DEFINITIONS, algorithm_image, is_aws_image
from include.training.hyperparameters import (
    base_hyperparameters,
    incremental_hyperparameters,
    tuned_hyperparameters,
    tuning_hyperparameters,
)
from include.training.tuning_config import tuning_config

if TYPE_CHECKING:
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.sagemaker.naming import Run
    from include.settings import Settings
    from include.training.selection import BestModel
    from include.training.warm_start import WarmStart

Request = dict[str, Any]
CHECKPOINT_PATH = "/opt/ml/checkpoints"
RECORDIO = "application/x-recordio"
MODEL = "application/x-sagemaker-model"
LOCAL_STORAGE_FAMILIES = ("ml.g4dn.", "ml.g5.", "ml.p3dn.")
"""Their disks are the instance's own, encrypted by hardware; AWS refuses a volume key for them."""


def training_request(
    name: str,
    *,
    conf: RunConf,
    settings: Settings,
    dataset: DatasetVersion,
    run: Run,
    tuned: Mapping[str, str] | None = None,
) -> Request:
    """A training job from scratch, or from ImageNet weights where the conf says so.

    `tuned` are hyperparameters that a tuning job found, which go before the conf's.
    """
    return {
        "TrainingJobName": name,
        "HyperParameters": tuned_hyperparameters(base_hyperparameters(conf, dataset), tuned or {}),
        **_job_definition(conf, settings, [*_data_channels(dataset)]),
        **_checkpoints(conf, settings, name),
        "Tags": tags(settings, run, dataset),
    }


def incremental_request(
    name: str, *, conf: RunConf, settings: Settings, dataset: DatasetVersion, run: Run, base: BestModel
) -> Request:
    """A training job that goes on from `base`: its artifact is the `model` channel, its network is held."""
    channels = [*_data_channels(dataset), _channel("model", base.artifact, MODEL)]
    return {
        "TrainingJobName": name,
        "HyperParameters": incremental_hyperparameters(base.hyperparameters, conf, dataset),
        **_job_definition(conf, settings, channels),
        **_checkpoints(conf, settings, name),
        "Tags": tags(settings, run, dataset),
    }


def tuning_request(
    name: str,
    *,
    conf: RunConf,
    settings: Settings,
    dataset: DatasetVersion,
    run: Run,
    warm_start: WarmStart | None = None,
) -> Request:
    """A tuning job over the conf's ranges, or over those AWS documents, capped by the data."""
    definition = _job_definition(conf, settings, [*_data_channels(dataset)])
    static = tuning_hyperparameters(conf, dataset)
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": tuning_config(conf, dataset),
        "TrainingJobDefinition": {"StaticHyperParameters": static, **definition, **_checkpoints(conf, settings, name)},
        **({"WarmStartConfig": warm_start.as_request()} if warm_start else {}),
        "Tags": tags(settings, run, dataset),
    }


def image_uri(settings: Settings) -> str:
    """The algorithm's container image: the settings' own, or AWS's in the region.

    Raises UnknownRegionError for a region without the algorithm.
    """
    return settings.image_uri or algorithm_image(settings.region)


def tags(settings: Settings, run: Run, dataset: DatasetVersion | None = None) -> list[dict[str, str]]:
    """Tags on everything a run creates: who, which run and task of it, which data."""
    pairs = {
        **settings.tags,
        "dag": run.dag_id,
        "run": run.run_id,
        **({"task": run.task} if run.task else {}),
        **({"dataset-version": f"{dataset.name}/{dataset.version}"} if dataset else {}),
        **({"owner": settings.owner} if settings.owner else {}),
    }
    return [{"Key": key, "Value": tag_value(value)} for key, value in pairs.items()]


def tag_value(value: str) -> str:
    """A text as tags and model metadata allow it: letters, digits, spaces and `_.:/=+-@`, at most 256."""
    allowed = "".join(letter if letter.isalnum() or letter in " _.:/=+-@" else "_" for letter in value)
    return allowed[:256]


def vpc_config(settings: Settings) -> Request:
    """The network of jobs and models, empty if none is set; sorted, as the order means nothing to AWS."""
    if not settings.subnets:
        return {}
    groups = sorted(set(settings.security_group_ids))
    return {"VpcConfig": {"Subnets": sorted(set(settings.subnets)), "SecurityGroupIds": groups}}


def _job_definition(conf: RunConf, settings: Settings, channels: list[Request]) -> Request:
    resources = conf.resources
    key = {"KmsKeyId": settings.kms_key_id} if settings.kms_key_id else {}
    stopping = {"MaxRuntimeInSeconds": resources.max_runtime_seconds}
    if resources.spot:
        stopping["MaxWaitTimeInSeconds"] = resources.max_wait
    return {
        "AlgorithmSpecification": _algorithm(settings),
        "RoleArn": settings.execution_role_arn,
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": settings.jobs_uri, **key},
        "ResourceConfig": _resource_config(conf, settings),
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": resources.spot,
        "EnableNetworkIsolation": settings.network_isolation,
        **vpc_config(settings),
    }


def _algorithm(settings: Settings) -> Request:
    """The image; one that is not AWS's own with its metrics, without which AWS reports none and cannot tune."""
    image = image_uri(settings)
    metrics = {} if is_aws_image(image) else {"MetricDefinitions": [dict(metric) for metric in METRIC_DEFINITIONS]}
    return {"TrainingImage": image, "TrainingInputMode": "File", **metrics}


def _resource_config(conf: RunConf, settings: Settings) -> Request:
    resources = conf.resources
    keeps = settings.keep_alive_seconds and not resources.spot
    encrypts = settings.kms_key_id and not resources.instance_type.startswith(LOCAL_STORAGE_FAMILIES)
    return {
        "InstanceType": resources.instance_type,
        "InstanceCount": resources.instance_count,
        "VolumeSizeInGB": resources.volume_gb,
        **({"VolumeKmsKeyId": settings.kms_key_id} if encrypts else {}),
        **({"KeepAlivePeriodInSeconds": settings.keep_alive_seconds} if keeps else {}),
    }


def _checkpoints(conf: RunConf, settings: Settings, name: str) -> Request:
    if not conf.resources.spot:
        return {}
    uri = f"s3://{settings.output_bucket}/checkpoints/{name}"
    return {"CheckpointConfig": {"S3Uri": uri, "LocalPath": CHECKPOINT_PATH}}


def _data_channels(dataset: DatasetVersion) -> list[Request]:
    splits: tuple[Literal["train", "validation"], ...] = ("train", "validation")
    return [_channel(split, dataset.channel_uri(split), RECORDIO) for split in splits]


def _channel(name: str, uri: str, content_type: str) -> Request:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {
        "ChannelName": name,
        "ContentType": content_type,
        "InputMode": "File",
        "DataSource": {"S3DataSource": source},
    }

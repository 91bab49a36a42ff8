"""Bodies of CreateTrainingJob and CreateHyperParameterTuningJob.

Sources: API reference of both calls; developer guide, "Image Classification Algorithm" (channels, content types) and
"Incremental Training in Amazon SageMaker" (the `model` channel).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.sagemaker.image_uris import METRIC_DEFINITIONS, image_uri, is_aws_image
from include.sagemaker.naming import readable_name, tags
from include.sagemaker.network import encryption, network, volume_encryption
from include.training.debugger import debugger_fields
from include.training.job_hyperparameters import (
    base_hyperparameters,
    incremental_hyperparameters,
    tuned_hyperparameters,
    tuning_config,
    tuning_hyperparameters,
)

if TYPE_CHECKING:
    from include.datasets.replay import Replay
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.sagemaker.naming import Run
    from include.settings import Settings
    from include.training.best_model import BestModel
    from include.training.warm_start import WarmStart

Request = dict[str, Any]
CHECKPOINT_PATH = "/opt/ml/checkpoints"
RECORDIO = "application/x-recordio"
MODEL = "application/x-sagemaker-model"


def training_request(
    name: str,
    *,
    conf: RunConf,
    settings: Settings,
    dataset: DatasetVersion,
    run: Run,
    tuned: Mapping[str, str] | None = None,
) -> Request:
    """A training job from scratch, or from ImageNet weights if the conf says so.

    `tuned` are hyperparameters that a tuning job found, which go before the conf's.
    """
    request = {
        "TrainingJobName": name,
        "HyperParameters": tuned_hyperparameters(base_hyperparameters(conf, dataset), tuned or {}),
        **_job_definition(conf, settings, [*_data_channels(dataset)]),
        **debugger_fields(conf.training.debugger, settings),
        "Tags": tags(settings, run, dataset),
    }
    return {**request, **_checkpoints_of_task(request, settings, run)}


def incremental_request(
    name: str,
    *,
    conf: RunConf,
    settings: Settings,
    dataset: DatasetVersion,
    run: Run,
    base: BestModel,
    replay: Replay | None = None,
) -> Request:
    """A training job that trains `base` further: its artifact is the `model` channel, its network is kept.

    It sees all training images of the dataset version, or those of `replay`.
    """
    channels = [*_data_channels(dataset, replay), _channel("model", base.artifact, MODEL)]
    seen = replay.as_version if replay else dataset
    request = {
        "TrainingJobName": name,
        "HyperParameters": incremental_hyperparameters(base.hyperparameters, conf, seen),
        **_job_definition(conf, settings, channels),
        **debugger_fields(conf.training.debugger, settings),
        "Tags": tags(settings, run, dataset),
    }
    return {**request, **_checkpoints_of_task(request, settings, run)}


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
    checkpoints = _checkpoints_of_search(conf, settings, name)
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": tuning_config(conf, dataset),
        "TrainingJobDefinition": {"StaticHyperParameters": static, **definition, **checkpoints},
        **({"WarmStartConfig": warm_start.as_request()} if warm_start else {}),
        "Tags": tags(settings, run, dataset),
    }


def _job_definition(conf: RunConf, settings: Settings, channels: list[Request]) -> Request:
    resources = conf.resources
    stopping = {"MaxRuntimeInSeconds": resources.max_runtime_seconds}
    if resources.spot:
        stopping["MaxWaitTimeInSeconds"] = resources.max_wait
    return {
        "AlgorithmSpecification": _algorithm(settings),
        "RoleArn": settings.execution_role_arn,
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": settings.jobs_uri, **encryption(settings)},
        "ResourceConfig": _resource_config(conf, settings),
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": resources.spot,
        **network(settings),
    }


def _algorithm(settings: Settings) -> Request:
    """The image; one that is not AWS's own with its metrics, without which AWS reports none and cannot tune."""
    image = image_uri(settings)
    metrics = {} if is_aws_image(image) else {"MetricDefinitions": [dict(metric) for metric in METRIC_DEFINITIONS]}
    return {"TrainingImage": image, "TrainingInputMode": "File", **metrics}


def _resource_config(conf: RunConf, settings: Settings) -> Request:
    resources = conf.resources
    keeps = settings.keep_alive_seconds and not resources.spot
    return {
        "InstanceType": resources.instance_type,
        "InstanceCount": resources.instance_count,
        "VolumeSizeInGB": resources.volume_gb,
        **volume_encryption(settings, resources.instance_type),
        **({"KeepAlivePeriodInSeconds": settings.keep_alive_seconds} if keeps else {}),
    }


def _checkpoints_of_task(request: Request, settings: Settings, run: Run) -> Request:
    """Where a job keeps its checkpoints: every attempt of a task in one place, so that the next takes up the last one.

    A task that is cleared with other hyperparameters, data, base model or image starts from the beginning.
    """
    image = request["AlgorithmSpecification"]["TrainingImage"]
    learned = json.dumps([request["HyperParameters"], request["InputDataConfig"], image], sort_keys=True)
    name = readable_name(f"{run.dag_id}-{run.task}", run.dag_id, run.run_id, run.task, learned)
    return _checkpoints(f"s3://{settings.output_bucket}/checkpoints/{name}")


def _checkpoints_of_search(conf: RunConf, settings: Settings, name: str) -> Request:
    """Jobs of a search are not tried again one by one: they go on only where a spot machine was taken away."""
    return _checkpoints(f"s3://{settings.output_bucket}/checkpoints/{name}") if conf.resources.spot else {}


def _checkpoints(uri: str) -> Request:
    return {"CheckpointConfig": {"S3Uri": uri, "LocalPath": CHECKPOINT_PATH}}


def _data_channels(dataset: DatasetVersion, replay: Replay | None = None) -> list[Request]:
    train = replay.uri if replay else dataset.channel_uri("train")
    return [_channel("train", train, RECORDIO), _channel("validation", dataset.channel_uri("validation"), RECORDIO)]


def _channel(name: str, uri: str, content_type: str) -> Request:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {
        "ChannelName": name,
        "ContentType": content_type,
        "InputMode": "File",
        "DataSource": {"S3DataSource": source},
    }

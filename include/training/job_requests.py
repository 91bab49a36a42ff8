"""Bodies of CreateTrainingJob and CreateHyperParameterTuningJob.

What depends on the algorithm, `include.algorithms` says. Source: API reference of both calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.algorithms.algorithm import IncompatibleModelError
from include.sagemaker.naming import readable_name, tags
from include.sagemaker.network import encryption, network, volume_encryption
from include.training.debugger import debugger_fields
from include.training.search import tuning_config

if TYPE_CHECKING:
    from include.algorithms.algorithm import Algorithm
    from include.datasets.replay import Replay
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.sagemaker.naming import Run
    from include.settings import Settings
    from include.training.best_model import BestModel

Request = dict[str, Any]
CHECKPOINT_PATH = "/opt/ml/checkpoints"


def training_request(
    name: str, *, algorithm: Algorithm, dataset: DatasetVersion, run: Run, tuned: Mapping[str, str] | None = None
) -> Request:
    """A training job from scratch, or from given weights if the conf says so.

    `tuned` are hyperparameters that a tuning job found, which override the conf's.
    """
    hyperparameters = algorithm.tuned_hyperparameters(dataset, tuned or {})
    return _training_job(name, algorithm, hyperparameters, algorithm.channels(dataset), dataset=dataset, run=run)


def incremental_request(
    name: str,
    *,
    algorithm: Algorithm,
    dataset: DatasetVersion,
    run: Run,
    base: BestModel,
    replay: Replay | None = None,
) -> Request:
    """A training job that trains `base` further: its artifact is the `model` channel, its network is kept.

    It sees all training images of the dataset version, or those of `replay`. Raises IncompatibleModelError for a base
    of another algorithm.
    """
    if base.algorithm != algorithm.kind:
        raise IncompatibleModelError(
            f"{base.job} was trained by {base.algorithm}, and training.algorithm.kind is {algorithm.kind}: name a "
            "model of the same kind, or train in full."
        )
    seen = replay.as_version if replay else dataset
    hyperparameters = algorithm.incremental_hyperparameters(base.hyperparameters, seen)
    channels = algorithm.channels(dataset, replay, base=base.artifact)
    return _training_job(name, algorithm, hyperparameters, channels, dataset=dataset, run=run)


def tuning_request(name: str, *, algorithm: Algorithm, dataset: DatasetVersion, run: Run) -> Request:
    """A tuning job over the conf's ranges, or over those of the algorithm; a warm start is added to it."""
    settings = algorithm.settings
    definition = _job_definition(algorithm, algorithm.channels(dataset))
    static = {**algorithm.tuning_hyperparameters(dataset), **algorithm.added_hyperparameters(name)}
    checkpoints = _checkpoints_of_search(algorithm.conf, settings, name)
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": tuning_config(algorithm, dataset),
        "TrainingJobDefinition": {"StaticHyperParameters": static, **definition, **checkpoints},
        "Tags": tags(settings, run, dataset),
    }


def _training_job(
    name: str,
    algorithm: Algorithm,
    hyperparameters: Mapping[str, str],
    channels: list[Request],
    *,
    dataset: DatasetVersion,
    run: Run,
) -> Request:
    settings = algorithm.settings
    request = {
        "TrainingJobName": name,
        "HyperParameters": {**hyperparameters, **algorithm.added_hyperparameters(name)},
        **_job_definition(algorithm, channels),
        **debugger_fields(algorithm.conf.training.debugger, settings),
        "Tags": tags(settings, run, dataset),
    }
    learned = [hyperparameters, channels, algorithm.image, *algorithm.content]
    return {**request, **_checkpoints_of_task(learned, settings, run)}


def _job_definition(algorithm: Algorithm, channels: list[Request]) -> Request:
    conf, settings, environment = algorithm.conf, algorithm.settings, algorithm.environment()
    resources = conf.resources
    stopping = {"MaxRuntimeInSeconds": resources.max_runtime_seconds}
    if resources.spot:
        stopping["MaxWaitTimeInSeconds"] = resources.max_wait
    return {
        "AlgorithmSpecification": algorithm.specification(),
        "RoleArn": settings.execution_role_arn,
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": settings.jobs_uri, **encryption(settings)},
        "ResourceConfig": _resource_config(conf, settings),
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": resources.spot,
        **({"Environment": environment} if environment else {}),
        **network(settings),
    }


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


def _checkpoints_of_task(learned: list[Any], settings: Settings, run: Run) -> Request:
    """Where a job keeps its checkpoints: every attempt of a task in one place, so that the next takes up the last one.

    A task that is cleared with other hyperparameters, data, base model, image or code starts from the beginning.
    """
    text = json.dumps(learned, sort_keys=True)
    name = readable_name(f"{run.dag_id}-{run.task}", run.dag_id, run.run_id, run.task, text)
    return _checkpoints(f"s3://{settings.output_bucket}/checkpoints/{name}")


def _checkpoints_of_search(conf: RunConf, settings: Settings, name: str) -> Request:
    """Jobs of a search are not tried again one by one: they continue only where a spot machine was taken away."""
    return _checkpoints(f"s3://{settings.output_bucket}/checkpoints/{name}") if conf.resources.spot else {}


def _checkpoints(uri: str) -> Request:
    return {"CheckpointConfig": {"S3Uri": uri, "LocalPath": CHECKPOINT_PATH}}

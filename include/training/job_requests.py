"""Bodies of CreateTrainingJob and CreateHyperParameterTuningJob.

What depends on the algorithm, `include.algorithms` says. The settings of SageMaker Debugger have the form in which the
SageMaker SDK sends them.

Sources: API reference of both calls, of HyperParameterTuningJobConfig, DebugHookConfig, DebugRuleConfiguration,
ProfilerConfig and ProfilerRuleConfiguration; SageMaker SDK, `sagemaker.debugger` and `Estimator`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.algorithms.algorithm import IncompatibleModelError
from include.run_conf.debugger import PROFILER_REPORT, TENSOR_RULES, DebuggerConf, Parameters, ProfilerConf
from include.sagemaker.containers import rule_evaluator_image
from include.sagemaker.naming import encryption, network, readable_name, tags, volume_encryption

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
TRACE_FILES: Mapping[str, str] = {
    "LocalPath": "/opt/ml/output/profiler",
    "RotateMaxFileSizeInBytes": "10485760",
    "RotateFileCloseIntervalInSeconds": "60",
    "FileOpenFailThreshold": "50",
}
"""How framework profiling writes its files."""
FRAMEWORK_PROFILES: Mapping[str, Mapping[str, str]] = {
    "DetailedProfilingConfig": {},
    "DataloaderProfilingConfig": {"MetricsRegex": ".*"},
    "PythonProfilingConfig": {"ProfilerName": "cprofile", "cProfileTimer": "total_time"},
    "HorovodProfilingConfig": {},
    "SMDataParallelProfilingConfig": {},
}
"""What framework profiling records of the chosen steps, each with its own settings."""


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
        "HyperParameterTuningJobConfig": _tuning_config(algorithm, dataset),
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


def _tuning_config(algorithm: Algorithm, dataset: DatasetVersion) -> dict[str, Any]:
    """`HyperParameterTuningJobConfig`: what a search varies, by what, for how long, as the algorithm's conf asks."""
    conf, objective = algorithm.conf, algorithm.objective
    tuning = conf.tuning
    completion = _completion_criteria(conf)
    return {
        "Strategy": tuning.strategy,
        "HyperParameterTuningJobObjective": {"Type": objective.direction, "MetricName": objective.metric},
        "ResourceLimits": _resource_limits(conf),
        "ParameterRanges": algorithm.parameter_ranges(dataset),
        "TrainingJobEarlyStoppingType": "Auto" if tuning.early_stopping else "Off",
        **_hyperband(algorithm),
        **({"TuningJobCompletionCriteria": completion} if completion else {}),
        **({"RandomSeed": tuning.seed} if tuning.seed is not None else {}),
    }


def _resource_limits(conf: RunConf) -> dict[str, int]:
    """`ResourceLimits`: how many jobs in all, how many at once, for how long."""
    tuning = conf.tuning
    return {
        "MaxNumberOfTrainingJobs": tuning.jobs,
        "MaxParallelTrainingJobs": tuning.parallel_jobs,
        **({"MaxRuntimeInSeconds": tuning.max_runtime_seconds} if tuning.max_runtime_seconds else {}),
    }


def _completion_criteria(conf: RunConf) -> dict[str, Any]:
    """`TuningJobCompletionCriteria`, empty if the budget alone ends the search."""
    completion = conf.tuning.completion
    criteria: dict[str, Any] = {}
    if completion.target is not None:
        criteria["TargetObjectiveMetricValue"] = completion.target
    if completion.jobs_without_improvement is not None:
        most = completion.jobs_without_improvement
        criteria["BestObjectiveNotImproving"] = {"MaxNumberOfTrainingJobsNotImproving": most}
    if completion.converged:
        criteria["ConvergenceDetected"] = {"CompleteOnConvergence": "Enabled"}
    return criteria


def _hyperband(algorithm: Algorithm) -> dict[str, Any]:
    """Hyperband gives a promising job more epochs; of one epoch there is nothing to give."""
    epochs = algorithm.search_epochs()
    if algorithm.conf.tuning.strategy != "Hyperband" or not epochs or epochs == 1:
        return {}
    return {"StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": epochs}}}


def debugger_fields(debugger: DebuggerConf, settings: Settings) -> dict[str, Any]:
    """The fields of a CreateTrainingJob request; none if the conf asks for nothing of Debugger.

    Tensors and measurements lie beside the job's model: AWS adds the job's name to the address. Raises
    UnknownRegionError for rules in a region that evaluates none.
    """
    if not debugger.is_used:
        return {}
    place = {"S3OutputPath": settings.jobs_uri}
    tensor_rules = [_debugger_rule(name, given, settings) for name, given in debugger.tensor_rules.items()]
    report = debugger.rules.get(PROFILER_REPORT)
    fields = {
        "DebugHookConfig": {
            **place,
            **({"HookParameters": _texts(debugger.hook)} if debugger.hook else {}),
            "CollectionConfigurations": _tensor_collections(debugger),
        },
        "DebugRuleConfigurations": tensor_rules,
        "ProfilerConfig": _profiler_config(debugger.profiler, place),
        "ProfilerRuleConfigurations": [] if report is None else [_debugger_rule(PROFILER_REPORT, report, settings)],
    }
    return {name: value for name, value in fields.items() if value}


def _debugger_rule(name: str, parameters: Parameters, settings: Settings) -> dict[str, Any]:
    return {
        "RuleConfigurationName": name,
        "RuleEvaluatorImage": rule_evaluator_image(settings.region),
        "RuleParameters": {"rule_to_invoke": name, **_texts(parameters)},
    }


def _tensor_collections(debugger: DebuggerConf) -> list[dict[str, Any]]:
    """Each collection once: those that the rules read, and those of the conf in their place or beside them."""
    rules = [TENSOR_RULES[name] for name in debugger.tensor_rules if name in TENSOR_RULES]
    of_rules = {name: parameters for rule in rules for name, parameters in rule.collections.items()}
    own = {name: _texts(parameters) for name, parameters in debugger.collections.items()}
    return [
        {"CollectionName": name, "CollectionParameters": dict(parameters)}
        for name, parameters in {**of_rules, **own}.items()
    ]


def _profiler_config(profiler: ProfilerConf, place: Mapping[str, str]) -> dict[str, Any]:
    if not profiler.enabled:
        return {"DisableProfiler": True}
    interval, start, steps = profiler.interval_ms, profiler.start_step, profiler.num_steps
    framework = {} if start is None and steps is None else _framework_profiles(start or 0, steps or 1)
    return {
        **place,
        "DisableProfiler": False,
        **({} if interval is None else {"ProfilingIntervalInMilliseconds": interval}),
        **({"ProfilingParameters": framework} if framework else {}),
    }


def _framework_profiles(start: int, steps: int) -> dict[str, str]:
    """Every profile of the framework, of the same steps; the values are written as Python dictionaries."""
    return {
        **TRACE_FILES,
        **{
            name: _as_sdk_dictionary({"StartStep": start, "NumSteps": steps, **own})
            for name, own in FRAMEWORK_PROFILES.items()
        },
    }


def _as_sdk_dictionary(values: Mapping[str, str | int]) -> str:
    """A dictionary as the SDK writes it, which smdebug evaluates: a comma and a space follow every entry."""
    shown = (f'"{name}": ' + (f'"{value}"' if isinstance(value, str) else str(value)) for name, value in values.items())
    return "{" + "".join(f"{entry}, " for entry in shown) + "}"


def _texts(parameters: Parameters) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items()}

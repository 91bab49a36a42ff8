"""What the conf and the settings show by themselves, and what the tuning jobs show that a search starts from.

Hyperparameters that change nothing, a network that does not fit the packing, and requests that the API would refuse:
they are built before the run starts and checked against botocore's own model. botocore itself checks types, required
members and minima before it sends; here are the maxima, patterns and choices too.

Earlier tuning jobs are described and compared with the request of the search. What a parent learned of its own parents
is not learned again. The rules for parents are those of `include/training/warm_start.py`, which holds when the job
starts. Source: developer guide, "Run a Warm Start Hyperparameter Tuning Job".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from botocore.session import get_session

from include.algorithms.kinds import algorithm_of
from include.datasets.layout import VersionLayout
from include.datasets.version import DatasetVersion, SplitCounts
from include.preflight import Findings, Stage
from include.problems import Problem
from include.run_conf import PromotionConf, SharedHyperparameters
from include.run_conf.debugger import DEBUGGER, debugger_notes
from include.run_conf.hyperparameters import BY_NAME, algorithm_default
from include.run_conf.rules import HYPERPARAMETERS, TRIALS
from include.run_conf.sections import LATEST
from include.sagemaker.naming import LONGEST_NAME, LONGEST_TUNING_NAME, Run, job_name, tags
from include.training.job_requests import training_request, tuning_request
from include.training.warm_start import FIELD, Child, search_problems, state_problems

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.run_conf import RunConf
    from include.settings import Settings

WORDS = {1: "one channel", 3: "three channels"}
SOME_RUN = Run(dag_id="image_classification", run_id="manual__2026-01-02T03:04:05+00:00")
FIELDS = {
    "AlgorithmSpecification.TrainingImage": "settings.image_uri",
    "AlgorithmSpecification.MetricDefinitions": "training.algorithm.metric_definitions",
    "AlgorithmSpecification.ContainerArguments": "training.algorithm.train_arguments",
    "RoleArn": "settings.execution_role_arn",
    "InputDataConfig": "settings.data_bucket",
    "OutputDataConfig.KmsKeyId": "settings.kms_key_id",
    "ResourceConfig.VolumeKmsKeyId": "settings.kms_key_id",
    "KmsKeyId": "settings.kms_key_id",
    "OutputDataConfig": "settings.output_bucket",
    "CheckpointConfig": "settings.output_bucket",
    "ResourceConfig.KeepAlivePeriodInSeconds": "settings.keep_alive_seconds",
    "ResourceConfig.InstanceCount": "resources.instance_count",
    "ResourceConfig.VolumeSizeInGB": "resources.volume_gb",
    "StoppingCondition.MaxRuntimeInSeconds": "resources.max_runtime_seconds",
    "StoppingCondition.MaxWaitTimeInSeconds": "resources.max_wait_seconds",
    "VpcConfig.Subnets": "settings.subnets",
    "VpcConfig.SecurityGroupIds": "settings.security_group_ids",
    "Tags": "settings.tags",
    "HyperParameters": "training.hyperparameters",
    "StaticHyperParameters": "training.hyperparameters",
    "HyperParameterTuningJobConfig.ResourceLimits.MaxRuntimeInSeconds": "tuning.max_runtime_seconds",
    "HyperParameterTuningJobConfig.ResourceLimits": "tuning.max_jobs",
    "HyperParameterTuningJobConfig.ParameterRanges": "tuning.ranges",
    "HyperParameterTuningJobConfig.TuningJobCompletionCriteria": "tuning.completion",
    "WarmStartConfig": "tuning.warm_start.from",
    "DebugHookConfig.HookParameters": f"{DEBUGGER}.hook",
    "DebugHookConfig.CollectionConfigurations": f"{DEBUGGER}.collections",
    "DebugHookConfig.S3OutputPath": "settings.output_bucket",
    "DebugRuleConfigurations": f"{DEBUGGER}.rules",
    "ProfilerConfig.S3OutputPath": "settings.output_bucket",
    "ProfilerConfig": f"{DEBUGGER}.profiler",
    "ProfilerRuleConfigurations": f"{DEBUGGER}.rules",
    "ModelPackageGroupName": "settings.registry_group_prefix",
    "EndpointName": "endpoint.name",
}
"""Where a person wrote what stands in a request; the longest beginning counts."""
NAMED_ELSEWHERE = ("ResourceConfig.InstanceType",)
"""Checked with remedies of their own."""
UNICODE_CLASSES = {r"\p{L}\p{Z}\p{N}": r"\w\s", r"\p{L}": r"^\W\d_", r"\P{M}\p{M}": r"\s\S"}
"""Classes that Java's patterns know and Python's do not, as they occur in the model."""
SAME = "IdenticalDataAndAlgorithm"


@dataclass(frozen=True)
class Violation:
    """A value that the service would refuse; `path` is dotted, as in `ResourceConfig.InstanceType`."""

    path: str
    value: Any
    rule: str


def ignored_notes(conf: RunConf) -> Iterator[str]:
    """Name what is set, or searched, and has no effect: with the optimizer of its job, or beside another field."""
    training = conf.training
    yield from debugger_notes(conf, emits_tensors=not training.algorithm.is_builtin)
    yield from _unused_promotion(conf)
    if not training.algorithm.is_builtin:
        yield from _unused_hyperparameters(conf)
        return
    base = training.hyperparameters.as_strings()
    if training.mode != "tune":
        if not training.trials:
            yield from _unread(HYPERPARAMETERS, base)
        for number, trial in enumerate(training.trials):
            changed = trial.hyperparameters.as_strings()
            yield from _unread(f"{TRIALS}.{number}.hyperparameters", base | changed)
    if training.tunes:
        ranges = conf.tuning.ranges
        given = ranges.get("optimizer", [base.get("optimizer", algorithm_default("optimizer"))])
        optimizers = [str(choice) for choice in given] if isinstance(given, list) else []
        for name in ranges:
            if optimizers and not _is_read(name, optimizers):
                yield f"tuning.ranges.{name} is searched without effect: {_why(name, optimizers)}"
    if conf.incremental.enabled:
        changed = conf.incremental.hyperparameters.as_strings()
        if "optimizer" in changed or any(BY_NAME[name].read_by for name in changed):
            yield from _unread("incremental.hyperparameters", base | changed)


def _unused_hyperparameters(conf: RunConf) -> Iterator[str]:
    """Hyperparameters of the built-in algorithm that somebody has set, where it does not train."""
    usual, kind = type(conf)(), conf.training.algorithm.kind
    sections: dict[str, tuple[SharedHyperparameters, SharedHyperparameters]] = {
        HYPERPARAMETERS: (conf.training.hyperparameters, usual.training.hyperparameters),
        "incremental.hyperparameters": (conf.incremental.hyperparameters, usual.incremental.hyperparameters),
    }
    for section, (given, default) in sections.items():
        others = default.as_strings()
        for name, value in given.as_strings().items():
            if others.get(name) != value:
                yield f"{section}.{name} = {value} has no effect: training.algorithm.kind is {kind}"


def _unused_promotion(conf: RunConf) -> Iterator[str]:
    """Fields of the gate that another field of it makes idle."""
    rule, usual = conf.promotion, PromotionConf()
    if rule.compare == "off" and rule.margin != usual.margin:
        yield f"promotion.margin = {rule.margin:g} has no effect: promotion.compare is off"
    if rule.approval == "automatic" and rule.approval_hours != usual.approval_hours:
        yield f"promotion.approval_hours = {rule.approval_hours:g} has no effect: promotion.approval is automatic"


def _unread(field: str, hyperparameters: Mapping[str, str]) -> Iterator[str]:
    optimizers = [hyperparameters.get("optimizer", algorithm_default("optimizer"))]
    for name, value in hyperparameters.items():
        if not _is_read(name, optimizers):
            yield f"{field}.{name} = {value} has no effect: {_why(name, optimizers)}"


def _is_read(name: str, optimizers: Collection[str]) -> bool:
    return name not in BY_NAME or any(BY_NAME[name].is_read_by(optimizer) for optimizer in optimizers)


def _why(name: str, optimizers: Collection[str]) -> str:
    return f"it is for {' and '.join(BY_NAME[name].read_by)}, the optimizer is {' or '.join(optimizers)}"


def packing_problems(conf: RunConf) -> Iterator[Problem]:
    """Whether the images that a run packs have the channels that its jobs, the trials among them, ask for."""
    packing, training = conf.dataset.packing, conf.training
    if not training.algorithm.is_builtin or packing.pass_through or conf.dataset.source_kind == "records":
        return
    base = training.hyperparameters.image_shape
    own = [(index, trial) for index, trial in enumerate(training.trials) if not trial.dataset]
    asks_base = training.mode != "train" or not training.trials
    if asks_base or any(not trial.hyperparameters.image_shape for _, trial in own):
        yield from channels_meet(f"{HYPERPARAMETERS}.image_shape", base, packing.color)
    for index, trial in own:
        if shape := trial.hyperparameters.image_shape:
            yield from channels_meet(f"{TRIALS}.{index}.hyperparameters.image_shape", shape, packing.color)


def channels_meet(field: str, shape: str, color: int, *, whose: str = "") -> Iterator[Problem]:
    """Whether a network of this `image_shape` sees as many channels as `packing.color` packs; -1 goes with all."""
    channels = int(shape.split(",", maxsplit=1)[0])
    packed = {0: 1, 1: 3}.get(color, channels)
    if channels != packed and channels in WORDS:
        remedy = (
            f"has {WORDS[channels]}, and images are packed with {WORDS[packed].split()[0]}: set dataset.packing.color "
            f"to {int(channels == 3)}, or the first number to {packed}"
        )
        yield Problem(field=field, value=f"{shape}{whose}", remedy=remedy)


def request_problems(
    conf: RunConf, settings: Settings, stages: Collection[Stage], *, dataset: DatasetVersion | None = None
) -> Iterator[Problem]:
    """What the API would refuse of the requests of this run; without `dataset` a stand-in is trained on."""
    version = dataset or some_version(conf, settings)
    for operation, request in _requests(conf, settings, stages, version):
        for violation in violations("sagemaker", operation, request):
            path = violation.path.removeprefix("TrainingJobDefinition.")
            if not path.startswith(NAMED_ELSEWHERE):
                yield Problem(
                    field=_field(path), value=violation.value, remedy=f"{violation.rule} ({operation}: {path})"
                )


def some_version(conf: RunConf, settings: Settings) -> DatasetVersion:
    """A dataset version as this run might build it, for requests whose form does not depend on its images."""
    name, version = conf.dataset.name, conf.dataset.version or "20260102T030405Z-0a1b2c3d"
    known: dict[str, Any] = {
        "name": name,
        "version": version,
        "uri": VersionLayout(settings.data_bucket, name, version).uri,
        "labels": conf.dataset.labels or ["0", "1"],
        "multi_label": conf.dataset.multi_label,
        "counts": SplitCounts(train=100_000, validation=10_000, test=10_000),
    }
    return DatasetVersion.model_construct(**known)


def _requests(
    conf: RunConf, settings: Settings, stages: Collection[Stage], dataset: DatasetVersion
) -> Iterator[tuple[str, Request]]:
    common: dict[str, Any] = {"dataset": dataset, "run": SOME_RUN}
    if "training" in stages:
        mode = conf.training.mode
        trials = [conf.of_trial(trial) for trial in conf.training.trials] or [conf]
        for trial in trials if mode != "tune" else ():
            name = _name("training.train")
            yield "CreateTrainingJob", training_request(name, algorithm=algorithm_of(trial, settings), **common)
        if conf.training.tunes:
            name = _name("training.tune", longest=LONGEST_TUNING_NAME)
            yield (
                "CreateHyperParameterTuningJob",
                tuning_request(name, algorithm=algorithm_of(conf, settings), **common),
            )
        group = {"ModelPackageGroupName": settings.registry_group(conf.dataset.name)}
        yield "CreateModelPackageGroup", {**group, "Tags": tags(settings, SOME_RUN)}
    if "endpoint" in stages and conf.endpoint.deploy:
        yield "CreateEndpoint", {"EndpointName": conf.endpoint_name, "EndpointConfigName": conf.endpoint_name}


def _name(task_id: str, longest: int = LONGEST_NAME) -> str:
    return job_name(dag_id=SOME_RUN.dag_id, run_id=SOME_RUN.run_id, task_id=task_id, longest=longest)


def _field(path: str) -> str:
    known = [prefix for prefix in FIELDS if path == prefix or path.startswith(f"{prefix}.")]
    if not known:
        return path
    longest = max(known, key=len)
    section = FIELDS[longest]
    return f"{section}{path.removeprefix(longest)}" if section == "training.hyperparameters" else section


def violations(service: str, operation: str, request: Mapping[str, Any]) -> list[Violation]:
    """What the model of an operation forbids in a request: patterns, lengths, ranges, choices, absent members."""
    shape = _service_model(service).operation_model(operation).input_shape
    return list(_of(shape, request, "")) if shape else []


Request = dict[str, Any]


@cache
def _service_model(service: str) -> ServiceModel:
    return get_session().get_service_model(service)


def _of(shape: Shape, value: Any, path: str) -> Iterator[Violation]:
    if isinstance(shape, StructureShape):
        yield from _structure(shape, value, path)
    elif isinstance(shape, ListShape):
        yield from _within(shape, len(value), value, path, "entries")
        for entry in value:
            yield from _of(shape.member, entry, path)
    elif isinstance(shape, MapShape):
        yield from _within(shape, len(value), value, path, "entries")
        for key, inner in value.items():
            yield from _of(shape.key, key, _joined(path, key))
            yield from _of(shape.value, inner, _joined(path, key))
    elif isinstance(value, str):
        yield from _text(shape, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _within(shape, value, value, path, "")


def _structure(shape: StructureShape, value: Mapping[str, Any], path: str) -> Iterator[Violation]:
    for name in shape.required_members:
        if name not in value:
            yield Violation(_joined(path, name), None, "is missing")
    for name, inner in value.items():
        if name in shape.members:
            yield from _of(shape.members[name], inner, _joined(path, name))
        else:
            yield Violation(_joined(path, name), inner, "is unknown to the API")


def _text(shape: Shape, value: str, path: str) -> Iterator[Violation]:
    choices = shape.metadata.get("enum")
    if choices and value not in choices:
        yield Violation(path, value, f"must be one of {', '.join(choices)}")
    yield from _within(shape, len(value), value, path, "characters")
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield Violation(path, value, f"must match {pattern}")


def _within(shape: Shape, size: float, value: Any, path: str, unit: str) -> Iterator[Violation]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    counted = f" {unit}" if unit else ""
    if low is not None and size < low:
        yield Violation(path, value, f"must have at least {low}{counted}" if unit else f"must be at least {low}")
    if high is not None and size > high:
        has = f" and has {size:g}" if unit else ""
        yield Violation(path, value, f"may {'have' if unit else 'be'} at most {high}{counted}{has}")


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for java, python in UNICODE_CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern)


def warm_start_findings(
    sagemaker: SageMakerClient, conf: RunConf, settings: Settings, *, dataset: DatasetVersion | None = None
) -> Findings:
    """Whether each named tuning job can be started from; `latest` is looked for when the job starts.

    Without `dataset` its data are not compared. Raises botocore's errors if SageMaker gives no answer.
    """
    found: list[Findings] = []
    request = _search_without_parents(conf, settings, dataset)
    for name in conf.tuning.warm_start.parents:
        if name == LATEST:
            continue
        try:
            parent = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("ResourceNotFound", "ValidationException"):
                raise
            remedy = f"there is no such tuning job in {settings.region}: name a finished one, or latest"
            found.append(Findings.of([Problem(field=FIELD, value=name, remedy=remedy)]))
            continue
        found.append(_parent_findings(name, parent, request, conf, with_data=dataset is not None))
    return Findings.joined(found)


def _search_without_parents(conf: RunConf, settings: Settings, dataset: DatasetVersion | None) -> Mapping[str, Any]:
    """The tuning job without its parents, which it is compared with."""
    alone = conf.tuning.model_copy(update={"warm_start": type(conf.tuning.warm_start)()})
    version = dataset or some_version(conf, settings)
    conf = conf.model_copy(update={"tuning": alone})
    return tuning_request("child", algorithm=algorithm_of(conf, settings), dataset=version, run=SOME_RUN)


def _parent_findings(
    name: str, parent: Mapping[str, Any], child: Mapping[str, Any], conf: RunConf, *, with_data: bool
) -> Findings:
    problems = [
        Problem(field=FIELD, value=name, remedy=remedy)
        for remedy in (
            *state_problems(parent),
            *search_problems(parent, Child.of_request(child)),
            *_differences(parent, child, conf, with_data=with_data),
        )
    ]
    notes: tuple[str, ...] = ()
    if grandparents := (parent.get("WarmStartConfig") or {}).get("ParentHyperParameterTuningJobs"):
        named = ", ".join(each["HyperParameterTuningJobName"] for each in grandparents)
        notes = (
            f"warm start: {name} also used results of {named}, which this run does not; name them too to use them",
        )
    return Findings(problems=tuple(problems), notes=notes)


def _differences(
    parent: Mapping[str, Any], child: Mapping[str, Any], conf: RunConf, *, with_data: bool
) -> Iterator[str]:
    if conf.tuning.warm_start.type != SAME:
        return
    theirs, ours = parent.get("TrainingJobDefinition") or {}, child["TrainingJobDefinition"]
    parts = {"container": _container_of, "data": _channels_of} if with_data else {"container": _container_of}
    for what, part in parts.items():
        if part(theirs) != part(ours):
            yield f"used other {what}, and tuning.warm_start.type is {SAME}: set it to TransferLearning"


def _container_of(definition: Mapping[str, Any]) -> Any:
    return (definition.get("AlgorithmSpecification") or {}).get("TrainingImage")


def _channels_of(definition: Mapping[str, Any]) -> dict[str, str]:
    return {
        channel["ChannelName"]: channel["DataSource"].get("S3DataSource", {}).get("S3Uri", "").rstrip("/")
        for channel in definition.get("InputDataConfig") or ()
    }

"""What AWS refuses of a training job beyond the model of its API: fields that must fit each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from local_aws.aws_errors import not_implemented, refuse
from local_aws.safe_paths import OutsideError, inside
from local_aws.sagemaker.core.container_files import steering_variables
from local_aws.sagemaker.core.tags import check_tags
from local_aws.storage import DataError, S3Location

LONGEST_RUNTIME = 28 * 24 * 3600
DEFAULT_RUNTIME = 24 * 3600
CHECKPOINT_PATH = "/opt/ml/checkpoints"
ML_ROOT = "/opt/ml/"
PROFILING_INTERVALS = (100, 200, 500, 1000, 5000, 60000)
RULES_OF_DEBUGGER = ("DebugRuleConfigurations", "ProfilerRuleConfigurations")
RESERVED_FOLDERS = ("input", "model", "output", "code")
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

Request = Mapping[str, Any]
Rule = Callable[[Request], Iterator[str]]


def check_training_job(request: Request) -> None:
    """Refuse a training job whose fields contradict each other, or that needs what this machine has not.

    Raises ValidationException that names every contradiction, or NotImplemented for an ability that only AWS has.
    """
    _check_abilities(request)
    refuse(problem for rule in RULES for problem in rule(request))
    check_tags(request.get("Tags", []))


def _check_abilities(request: Request) -> None:
    algorithm = request.get("AlgorithmSpecification", {})
    if "ServerlessJobConfig" in request:
        raise not_implemented("sagemaker", "CreateTrainingJob with ServerlessJobConfig")
    if "AlgorithmName" in algorithm:
        raise not_implemented("sagemaker", "CreateTrainingJob with AlgorithmSpecification.AlgorithmName")
    for channel in request.get("InputDataConfig", []):
        mode = channel.get("InputMode", algorithm.get("TrainingInputMode"))
        if mode == "Pipe":
            raise not_implemented(
                "sagemaker", f"input mode Pipe (channel {channel['ChannelName']}): use File or FastFile"
            )
        source = channel["DataSource"]
        kinds = [kind for kind in ("FileSystemDataSource", "DatasetSource") if kind in source]
        kind = source.get("S3DataSource", {}).get("S3DataType")
        if kind in ("AugmentedManifestFile", "Converse"):
            kinds.append(f"S3DataType {kind}")
        if kinds:
            raise not_implemented("sagemaker", f"{kinds[0]} of channel {channel['ChannelName']}: use an S3Prefix")


def _image(request: Request) -> Iterator[str]:
    algorithm = request.get("AlgorithmSpecification")
    if algorithm is None:
        yield "AlgorithmSpecification is required"
    elif "TrainingImage" not in algorithm:
        yield "AlgorithmSpecification must have a TrainingImage or an AlgorithmName"


def _channels(request: Request) -> Iterator[str]:
    channels = request.get("InputDataConfig", [])
    names = Counter(channel["ChannelName"] for channel in channels)
    for name in sorted(name for name, count in names.items() if count > 1):
        yield f"Channel names must be unique: {name} is given {names[name]} times"
    for channel in channels:
        if channel["ChannelName"] in (".", ".."):
            yield f"Channel name {channel['ChannelName']!r} is not a folder name"
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            yield f"DataSource of channel {channel['ChannelName']} must have an S3DataSource"
        else:
            yield from _uri(source["S3Uri"], f"S3Uri of channel {channel['ChannelName']}")


def _uri(uri: str, field: str) -> Iterator[str]:
    try:
        bucket = S3Location.parse(uri).bucket
    except DataError as error:
        yield f"{field}: {error}"
        return
    if not BUCKET_NAME.fullmatch(bucket):
        yield f"{field}: {bucket!r} is not a bucket name, in {uri!r}"


def _places(request: Request) -> Iterator[str]:
    yield from _uri(request["OutputDataConfig"]["S3OutputPath"], "OutputDataConfig.S3OutputPath")
    checkpoints = request.get("CheckpointConfig")
    if checkpoints is None:
        return
    yield from _uri(checkpoints["S3Uri"], "CheckpointConfig.S3Uri")
    path = checkpoints.get("LocalPath", CHECKPOINT_PATH)
    try:
        folder = inside(Path(ML_ROOT), path.removeprefix(ML_ROOT).rstrip("/")).relative_to(ML_ROOT)
        is_allowed = path.startswith(ML_ROOT) and folder.parts[0] not in RESERVED_FOLDERS
    except OutsideError:
        is_allowed = False
    if not is_allowed:
        yield f"CheckpointConfig.LocalPath {path!r} is not allowed: use {CHECKPOINT_PATH}"


def _resources(request: Request) -> Iterator[str]:
    resources = request.get("ResourceConfig", {})
    groups = resources.get("InstanceGroups")
    if groups:
        if "InstanceType" in resources or "InstanceCount" in resources:
            yield "ResourceConfig must not have InstanceGroups beside InstanceType and InstanceCount"
        counts = [group["InstanceCount"] for group in groups]
    else:
        for field in ("InstanceType", "InstanceCount"):
            if field not in resources:
                yield f"ResourceConfig.{field} is required"
        counts = [resources.get("InstanceCount", 1)]
    if any(count < 1 for count in counts):
        yield "ResourceConfig.InstanceCount must be at least 1"
    if resources.get("VolumeSizeInGB", 1) < 1:
        yield "ResourceConfig.VolumeSizeInGB must be at least 1"
    if resources.get("KeepAlivePeriodInSeconds") and request.get("EnableManagedSpotTraining"):
        yield "KeepAlivePeriodInSeconds is not supported with EnableManagedSpotTraining"


def _stopping(request: Request) -> Iterator[str]:
    condition = request.get("StoppingCondition", {})
    runtime = condition.get("MaxRuntimeInSeconds", DEFAULT_RUNTIME)
    longest = condition.get("MaxWaitTimeInSeconds")
    if runtime > LONGEST_RUNTIME:
        yield f"MaxRuntimeInSeconds {runtime} exceeds the maximum of {LONGEST_RUNTIME} seconds (28 days)"
    if request.get("EnableManagedSpotTraining"):
        if longest is None or longest < runtime:
            yield (
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds "
                f"(given: {'none' if longest is None else longest}, MaxRuntimeInSeconds: {runtime})"
            )
    elif longest is not None:
        yield "Invalid MaxWaitTimeInSeconds. It must not be present unless EnableManagedSpotTraining is true"


def _metrics(request: Request) -> Iterator[str]:
    definitions = request.get("AlgorithmSpecification", {}).get("MetricDefinitions", [])
    names = Counter(definition["Name"] for definition in definitions)
    for name in sorted(name for name, count in names.items() if count > 1):
        yield f"Metric names must be unique: {name} is given {names[name]} times"
    for definition in definitions:
        try:
            re.compile(definition["Regex"])
        except (re.error, OverflowError, RecursionError) as error:
            yield f"The regular expression {definition['Regex']!r} of metric {definition['Name']} is not valid: {error}"


def _debugger(request: Request) -> Iterator[str]:
    """Names of rules, places and the interval, as the API reference of DebugHookConfig and ProfilerConfig has them."""
    rules = [(field, rule) for field in RULES_OF_DEBUGGER for rule in request.get(field, [])]
    names = Counter(rule["RuleConfigurationName"] for _, rule in rules)
    for name in sorted(name for name, count in names.items() if count > 1):
        yield f"RuleConfigurationName must be unique: {name} is given {names[name]} times"
    configs = [(field, request[field]) for field in ("DebugHookConfig", "ProfilerConfig") if field in request]
    for field, config in (*configs, *rules):
        if "S3OutputPath" in config:
            yield from _uri(config["S3OutputPath"], f"{field}.S3OutputPath")
    interval = request.get("ProfilerConfig", {}).get("ProfilingIntervalInMilliseconds")
    if interval is not None and interval not in PROFILING_INTERVALS:
        allowed = ", ".join(map(str, PROFILING_INTERVALS))
        yield f"ProfilerConfig.ProfilingIntervalInMilliseconds {interval} is not one of {allowed}"


def _environment(request: Request) -> Iterator[str]:
    yield from steering_variables(request.get("Environment", {}), "Environment")


RULES: tuple[Rule, ...] = (_image, _channels, _places, _resources, _stopping, _metrics, _debugger, _environment)

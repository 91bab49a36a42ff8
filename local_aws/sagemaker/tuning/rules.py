"""What AWS refuses in a tuning request beyond the patterns and ranges of its model.

Sources: docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateHyperParameterTuningJob.html and
.../dg/automatic-model-tuning{-limits,-define-ranges,-early-stopping,-considerations}.html, IC-tuning.html.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from local_aws.aws_errors import resource_limit_exceeded, validation_error
from local_aws.container_images import ContainerImages
from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.tuning.search_space import ContinuousRange, IntegerRange, SearchSpace

MAX_RANGES = 30
MAX_JOBS = 750
QUOTAS = {
    "MaxParallelTrainingJobs": ("Maximum number of parallel training jobs per tuning job", 10),
    "MaxNumberOfTrainingJobs": ("Maximum number of training jobs per tuning job", MAX_JOBS),
    "MaxRuntimeInSeconds": ("Maximum run time of a tuning job in seconds", 30 * 24 * 3600),
}
MAX_EPOCHS = 20_000
EPOCH_NAMES = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")

# The built-in image-classification algorithm: the hyperparameters AWS lets a tuning job choose, and its one objective.
TUNABLE = frozenset(
    {"beta_1", "beta_2", "eps", "gamma", "learning_rate", "mini_batch_size", "momentum", "optimizer", "weight_decay"}
)
BUILT_IN_OBJECTIVE = "validation:accuracy"
OBJECTIVE_HYPERPARAMETER = "_tuning_objective_metric"


def with_defaults(request: Mapping[str, Any], images: ContainerImages) -> Document:
    """The request with what AWS adds to it, so that Describe gives every list and every default."""
    config = {"TrainingJobEarlyStoppingType": "Off", **request["HyperParameterTuningJobConfig"]}
    if "ParameterRanges" in config:
        config["ParameterRanges"] = _whole_ranges(config["ParameterRanges"])
    filled: Document = {**request, "HyperParameterTuningJobConfig": config}
    if "TrainingJobDefinition" in request:
        filled["TrainingJobDefinition"] = _whole_definition(request["TrainingJobDefinition"], config, images)
    if "TrainingJobDefinitions" in request:
        filled["TrainingJobDefinitions"] = [
            _whole_definition(definition, config, images) for definition in request["TrainingJobDefinitions"]
        ]
    return filled


def _whole_definition(definition: Mapping[str, Any], config: Mapping[str, Any], images: ContainerImages) -> Document:
    objective = definition.get("TuningObjective") or config.get("HyperParameterTuningJobObjective")
    static = dict(definition.get("StaticHyperParameters", {}))
    if objective is not None:
        static[OBJECTIVE_HYPERPARAMETER] = objective["MetricName"]
    algorithm = definition["AlgorithmSpecification"]
    whole = {
        **definition,
        "StaticHyperParameters": static,
        "AlgorithmSpecification": {**algorithm, "MetricDefinitions": images.metric_definitions(algorithm)},
    }
    if "InstanceType" in (resources := definition.get("HyperParameterTuningResourceConfig", {})):
        whole.setdefault("ResourceConfig", resources)  # the SDK's tuner sends the one and reads the other back
    if "HyperParameterRanges" in definition:
        whole["HyperParameterRanges"] = _whole_ranges(definition["HyperParameterRanges"])
    return whole


def _whole_ranges(ranges: Mapping[str, Any]) -> Document:
    return {
        **ranges,
        "CategoricalParameterRanges": ranges.get("CategoricalParameterRanges", []),
        **{
            kind: [{"ScalingType": "Auto", **each} for each in ranges.get(kind, ())]
            for kind in ("IntegerParameterRanges", "ContinuousParameterRanges")
        },
    }


def definitions(request: Mapping[str, Any]) -> list[Document]:
    """The training job definitions, each with its own TuningObjective and HyperParameterRanges.

    Raises ValidationException unless exactly one of TrainingJobDefinition and TrainingJobDefinitions is given, each
    with an objective.
    """
    single, several = request.get("TrainingJobDefinition"), request.get("TrainingJobDefinitions")
    if (single is None) == (several is None):
        raise validation_error("You must provide either TrainingJobDefinition or TrainingJobDefinitions, and not both.")
    config = request["HyperParameterTuningJobConfig"]
    if several is not None:
        _check_names(several)
        for part in ("HyperParameterTuningJobObjective", "ParameterRanges"):
            if part in config:
                raise validation_error(
                    f"{part} can't be given in HyperParameterTuningJobConfig together with TrainingJobDefinitions: "
                    "put it into each definition."
                )
    found = [
        {
            "TuningObjective": config.get("HyperParameterTuningJobObjective"),
            "HyperParameterRanges": config.get("ParameterRanges"),
            **definition,
        }
        for definition in (several or [single])
    ]
    for definition in found:
        if not definition["TuningObjective"]:
            raise validation_error(
                "An objective metric is required: give HyperParameterTuningJobObjective in "
                "HyperParameterTuningJobConfig, or TuningObjective in each of TrainingJobDefinitions."
            )
    return found


def check_config(request: Mapping[str, Any], spaces: Sequence[SearchSpace]) -> None:
    """Check what concerns the tuning job as a whole; raises ValidationException or ResourceLimitExceeded."""
    config = request["HyperParameterTuningJobConfig"]
    if "Autotune" in request:
        raise validation_error("Autotune is not available in the local AWS: give the ranges and limits yourself.")
    _check_limits(config)
    strategy = config["Strategy"]
    if strategy == "Grid":
        _check_grid(config["ResourceLimits"], spaces)
    elif not _has_an_end(config):
        raise validation_error(
            f"MaxNumberOfTrainingJobs is required for the {strategy} strategy, unless MaxRuntimeInSeconds or "
            "TuningJobCompletionCriteria end the tuning job."
        )
    if strategy == "Hyperband":
        if config.get("TrainingJobEarlyStoppingType", "Off") != "Off":
            raise validation_error(
                "TrainingJobEarlyStoppingType must be Off for the Hyperband strategy, which stops jobs by itself."
            )
    elif "StrategyConfig" in config:
        raise validation_error(f"StrategyConfig is for the Hyperband strategy only, not for {strategy}.")


def check_definition(definition: Mapping[str, Any], space: SearchSpace, *, built_in: bool) -> None:
    """Check one training job definition; `built_in` says that its image is AWS's own algorithm."""
    _check_ranges(space, definition)
    objective = definition["TuningObjective"]
    if built_in:
        _check_built_in(objective, space)
        return
    defined = {metric["Name"] for metric in definition["AlgorithmSpecification"].get("MetricDefinitions", ())}
    if objective["MetricName"] not in defined:
        raise validation_error(
            "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
            f"definitions: {objective['MetricName']} is none of [{', '.join(sorted(defined))}]."
        )


def hyperband_resource(config: Mapping[str, Any], static: Mapping[str, str]) -> tuple[int, int]:
    """The least and most epochs of a Hyperband job, the most from its static hyperparameters if not given."""
    given = (config.get("StrategyConfig") or {}).get("HyperbandStrategyConfig") or {}
    epochs = next((static[name] for name in EPOCH_NAMES if name in static), None)
    most = given.get("MaxResource", int(epochs) if epochs is not None and epochs.isdigit() else None)
    if most is None:
        raise validation_error(
            "MaxResource of HyperbandStrategyConfig is required: it can't be inferred, since StaticHyperParameters has "
            f"none of {', '.join(EPOCH_NAMES)}."
        )
    least = given.get("MinResource", 1)
    if not least < most <= MAX_EPOCHS and (least, most) != (1, 1):
        raise validation_error(
            f"MinResource ({least}) must be less than MaxResource ({most}), and that at most {MAX_EPOCHS}."
        )
    return least, most


def check_warm_start(
    child: Sequence[Mapping[str, Any]], parent: Sequence[Mapping[str, Any]], parent_name: str, kind: str
) -> None:
    """Check a child's definitions against a parent's.

    Same objective, same kinds of ranges; IdenticalDataAndAlgorithm: same image and input; at most ten hyperparameters
    may turn from static to tunable or back. Raises ValidationException.
    """
    for own, other in zip(child, parent, strict=False):
        if own["TuningObjective"] != other["TuningObjective"]:
            raise validation_error(f"The objective metric must be the same as in the parent tuning job {parent_name}.")
        kinds, known = _kinds(own), _kinds(other)
        turned = sorted(name for name in kinds.keys() & known.keys() if kinds[name] is not known[name])
        if turned:
            raise validation_error(
                f"The type of a range must be the same as in the parent tuning job {parent_name}: {', '.join(turned)}."
            )
        changed = kinds.keys() ^ known.keys()
        if len(changed) > 10:
            raise validation_error(
                f"At most 10 hyperparameters may change between static and tunable; {len(changed)} differ from the "
                f"parent tuning job {parent_name}: {', '.join(sorted(changed))}."
            )
        if kind == "IdenticalDataAndAlgorithm":
            for part in ("AlgorithmSpecification", "InputDataConfig"):
                if _identity(own, part) != _identity(other, part):
                    raise validation_error(
                        f"{part} must be the same as in the parent tuning job {parent_name} for warm start type "
                        "IdenticalDataAndAlgorithm. Use TransferLearning to change it."
                    )


def _kinds(definition: Mapping[str, Any]) -> dict[str, type]:
    """The kind of range of every tuned hyperparameter."""
    return {each.name: type(each) for each in SearchSpace.from_request(definition["HyperParameterRanges"]).ranges}


def _identity(definition: Mapping[str, Any], part: str) -> Any:
    """What makes the algorithm or the data the same: image, or S3 URI by channel."""
    if part == "AlgorithmSpecification":
        return definition[part].get("TrainingImage"), definition[part].get("AlgorithmName")
    return {
        channel["ChannelName"]: channel["DataSource"].get("S3DataSource", {}).get("S3Uri", "").rstrip("/")
        for channel in definition.get(part, ())
    }


def _check_names(several: Sequence[Mapping[str, Any]]) -> None:
    names = [definition.get("DefinitionName") for definition in several]
    if None in names or len(set(names)) < len(names):
        raise validation_error("Each of TrainingJobDefinitions needs a DefinitionName of its own.")


def _check_limits(config: Mapping[str, Any]) -> None:
    for field, (quota, most) in QUOTAS.items():
        asked = config["ResourceLimits"].get(field, 0)
        if asked > most:
            raise resource_limit_exceeded(
                f"The account-level service limit '{quota}' is {most}, with a request of {asked}."
            )


def _has_an_end(config: Mapping[str, Any]) -> bool:
    limited = {"MaxNumberOfTrainingJobs", "MaxRuntimeInSeconds"} & set(config["ResourceLimits"])
    return bool(limited) or bool(config.get("TuningJobCompletionCriteria"))


def _check_grid(limits: Mapping[str, Any], spaces: Sequence[SearchSpace]) -> None:
    if not all(space.is_categorical for space in spaces):
        raise validation_error("The Grid strategy takes CategoricalParameterRanges only.")
    product = int(sum(space.combinations for space in spaces))
    if limits.get("MaxNumberOfTrainingJobs", product) != product:
        raise validation_error(
            f"MaxNumberOfTrainingJobs ({limits['MaxNumberOfTrainingJobs']}) must be omitted for the Grid strategy or "
            f"equal the number of distinct categorical combinations, which is {product}."
        )
    if product > MAX_JOBS:
        raise resource_limit_exceeded(f"The grid has {product} combinations; at most {MAX_JOBS} are possible.")


def _check_ranges(space: SearchSpace, definition: Mapping[str, Any]) -> None:
    if not space.ranges:
        raise validation_error("At least one hyperparameter range is required.")
    if len(space.ranges) > MAX_RANGES:
        raise validation_error(f"{len(space.ranges)} hyperparameter ranges are given; at most {MAX_RANGES} may be.")
    twice = [name for name, count in Counter(space.names).items() if count > 1]
    if twice:
        raise validation_error(f"Each hyperparameter may have one range; given more than once: {', '.join(twice)}.")
    fixed = sorted(set(space.names) & set(definition.get("StaticHyperParameters") or {}))
    if fixed:
        raise validation_error(
            f"Hyperparameters can't be both static and tunable: {', '.join(fixed)}. Remove them from "
            "StaticHyperParameters or from the ranges."
        )
    for each in space.ranges:
        if isinstance(each, IntegerRange | ContinuousRange):
            _check_bounds(each)


def _check_bounds(each: IntegerRange | ContinuousRange) -> None:
    where = f"the range of {each.name} ({each.low} to {each.high})"
    if not each.low <= each.high:
        raise validation_error(f"MinValue must not be greater than MaxValue in {where}.")
    if each.scaling == "Logarithmic" and each.low <= 0:
        raise validation_error(f"Logarithmic scaling needs values greater than 0 in {where}.")
    if each.scaling == "ReverseLogarithmic":
        if isinstance(each, IntegerRange):
            raise validation_error(f"ReverseLogarithmic scaling is for continuous ranges only, not for {where}.")
        if not 0 <= each.low <= each.high < 1:
            raise validation_error(f"ReverseLogarithmic scaling needs 0 <= values < 1 in {where}.")


def _check_built_in(objective: Mapping[str, Any], space: SearchSpace) -> None:
    name = objective["MetricName"]
    if (name, objective["Type"]) != (BUILT_IN_OBJECTIVE, "Maximize"):
        raise validation_error(
            f"The objective metric for the hyperparameter tuning job, [{name}, {objective['Type']}], isn't valid for "
            f"the [image-classification] algorithm. Choose {BUILT_IN_OBJECTIVE}, Maximize."
        )
    fixed = sorted(set(space.names) - TUNABLE)
    if fixed:
        raise validation_error(
            f"Hyperparameters that the [image-classification] algorithm can't tune: {', '.join(fixed)}. Tunable are "
            f"{', '.join(sorted(TUNABLE))}."
        )

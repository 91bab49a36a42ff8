"""The section `training.algorithm` of a run conf, with its rules: which code trains, and what is known of it.

Source of the bounds: API reference of AlgorithmSpecification, MetricDefinition, CreateTrainingJob (HyperParameters).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from include.problems import Problem
from include.run_conf.dataset import BUCKET
from include.run_conf.fields import COMMA_SEPARATED, ENTRY_IS_SCALAR, ENTRY_IS_TEXT, Scalar, Section
from include.run_conf.hyperparameters import Choices, Range
from include.sagemaker.containers import IMAGE_TYPES, packed_type
from include.sagemaker.job_results import AlgorithmKind, Direction

if TYPE_CHECKING:
    from include.run_conf import RunConf

IMAGE_URI: dict[str, JsonValue] = {"made_of": "the address of a container image"}
IMAGE = r"[a-z0-9][a-zA-Z0-9._/:@-]*"
FILE = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*"
"""A path within a folder, without hidden parts and without steps upwards."""
PYTORCH_SCRIPTS = "algorithms/pytorch"
NUMBER = r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?|nan)"
PRINTED_METRICS = {
    f"{channel}:{metric}": rf"Epoch\[[0-9]+\] {logged}-{metric}={NUMBER}"
    for channel, logged in (("train", "Train"), ("validation", "Validation"))
    for metric in ("accuracy", "loss")
}
"""The metrics of lines as the built-in algorithm and `algorithms/pytorch` print them."""
ContentType = Annotated[str, Field(pattern=r"^[\w.+-]+/[\w.+-]+$", examples=["image/jpeg"])]
Argument = Annotated[str, Field(min_length=1, max_length=256)]


class ObjectiveConf(Section):
    """By what the models of a script or a container are compared."""

    model_config = ConfigDict(title="Algorithm: objective")

    metric: str = Field(
        "validation:accuracy",
        min_length=1,
        max_length=255,
        title="Metric",
        description="One of the metric definitions. The built-in algorithm has `validation:accuracy` only.",
    )
    direction: Direction = Field(
        "Maximize", title="Direction", description="Whether a higher or a lower value is better."
    )


class InferenceConf(Section):
    """What answers with a model of a script or a container."""

    model_config = ConfigDict(title="Algorithm: inference")

    image: str = Field(
        "",
        pattern=rf"^({IMAGE})?$",
        json_schema_extra=IMAGE_URI,
        title="Image",
        description="Container image that serves the model. Empty: AWS's inference image of the framework, or the "
        "container's own image.",
    )
    content_types: list[ContentType] = Field(
        [],
        json_schema_extra=COMMA_SEPARATED,
        title="Content types",
        description="Content types of the images that the model takes. It answers with a JSON list of "
        "probabilities, in class order. Empty: `image/jpeg`, `image/png` and `application/x-image`.",
    )


class AlgorithmConf(Section):
    """Which code trains: AWS's image classification, a script of your own, or a container of your own."""

    model_config = ConfigDict(title="Training: algorithm")

    kind: AlgorithmKind = Field(
        "builtin",
        title="Kind",
        description="`builtin`: AWS's image classification; `script`: a folder of Python in AWS's container of the "
        "framework; `container`: a container image. The fields below are for the last two.",
    )
    framework: Literal["pytorch"] = Field("pytorch", title="Framework", description="Framework of a script.")
    framework_version: str = Field(
        "",
        pattern=r"^(\d+\.\d+(\.\d+)?)?$",
        examples=["2.6.0"],
        title="Framework version",
        description="Version of a script's framework. Empty: the newest for which AWS has an image.",
    )
    source: str = Field(
        PYTORCH_SCRIPTS,
        pattern=rf"^({FILE}|{BUCKET}/.+)$",
        examples=[PYTORCH_SCRIPTS, "s3://my-bucket/my-scripts/", "s3://my-bucket/sourcedir.tar.gz"],
        title="Source",
        description="Folder of a script with all that it imports: a folder of this project, a prefix in S3, or an "
        "archive `sourcedir.tar.gz` in S3, which is used as it is. A `requirements.txt` in it is installed in the job.",
    )
    entry_point: str = Field(
        "train.py", pattern=rf"^{FILE}$", title="Entry point", description="The file in the source that trains."
    )
    inference_entry_point: str = Field(
        "inference.py",
        pattern=rf"^{FILE}$",
        title="Inference entry point",
        description="The file that serves the model, in the folder `code` of the model archive.",
    )
    image: str = Field(
        "",
        pattern=rf"^({IMAGE})?$",
        json_schema_extra=IMAGE_URI,
        examples=["123456789012.dkr.ecr.eu-central-1.amazonaws.com/my-classifier@sha256:0a1b..."],
        title="Image",
        description="Container image that trains. Required for a container. Empty for a script: AWS's.",
    )
    train_arguments: list[Argument] = Field(
        [],
        max_length=100,
        title="Arguments",
        description="Arguments with which a container is started. Empty: `train`, as SageMaker does.",
    )
    hyperparameters: dict[str, Scalar] = Field(
        {},
        json_schema_extra=ENTRY_IS_SCALAR,
        title="Hyperparameters",
        description='Hyperparameters of a script or a container: `{"network": "resnet34", "lr": 0.01}`. A script '
        "reads them as command line arguments. Empty: the code's own defaults.",
    )
    metric_definitions: dict[str, str] = Field(
        {},
        json_schema_extra=ENTRY_IS_TEXT,
        title="Metric definitions",
        description="Metric -> regular expression that finds its value in the log, in one group. Empty: accuracy "
        "and loss in lines such as `Epoch[0] Validation-accuracy=0.93`.",
    )
    sample_line: str = Field(
        "",
        max_length=1000,
        examples=["Epoch[0] Validation-accuracy=0.932000"],
        title="Sample line",
        description="A line that the code prints. The objective's regular expression is tried on it before the run.",
    )
    channels: Literal["recordio", "folders", "manifest"] = Field(
        "recordio",
        title="Channels",
        description="How a script or a container gets the images. `recordio`: the record files of the dataset version; "
        "`folders`: a folder of images for each class, unpacked from them once for each version; `manifest`: the "
        "version's table of images, for code that reads S3 itself.",
    )
    further_channels: dict[str, str] = Field(
        {},
        json_schema_extra=ENTRY_IS_TEXT,
        title="Further channels",
        description='Channel -> address in S3: `{"weights": "s3://my-bucket/resnet34.pth"}`.',
    )
    objective: ObjectiveConf = Field(ObjectiveConf(), description="The metric by which its models are compared.")
    inference: InferenceConf = Field(InferenceConf(), description="The code or image that serves its models.")

    @property
    def defined_metrics(self) -> dict[str, str]:
        """The metric definitions, those of the usual lines if there are none."""
        return self.metric_definitions or PRINTED_METRICS

    @property
    def sample_value(self) -> float | None:
        """The objective's value in the sample line; None if its definition finds no number there."""
        found = re.search(self.defined_metrics[self.objective.metric], self.sample_line)
        try:
            return float(found[1]) if found else None
        except (TypeError, ValueError):
            return None

    @property
    def is_builtin(self) -> bool:
        """Whether AWS's image classification trains."""
        return self.kind == "builtin"

    @property
    def is_of_project(self) -> bool:
        """Whether the project's own scripts train, whose hyperparameters are known."""
        return self.kind == "script" and self.source == PYTORCH_SCRIPTS


ALGORITHM = "training.algorithm"
GPU_FAMILIES = ("p2", "p3", "p3dn", "g4dn", "g5")
"""Families on which the built-in algorithm trains."""
OTHER_CHIPS = ("ml.trn", "ml.inf")
CHANNEL_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
OWN_CHANNELS = ("train", "validation", "labels", "manifest", "model", "code")
MOST_CHOICES = 30


def algorithm_is_whole(conf: RunConf) -> Iterator[Problem]:
    """A container has an image, and what is of one kind only is not asked of another."""
    algorithm = conf.training.algorithm
    if algorithm.kind == "container" and not algorithm.image:
        yield Problem(field=f"{ALGORITHM}.image", remedy="a container needs one: give the address of its image")
    if algorithm.train_arguments and algorithm.kind != "container":
        remedy = f"are a container's, and {ALGORITHM}.kind is {algorithm.kind}: leave them out"
        yield Problem(field=f"{ALGORITHM}.train_arguments", value=algorithm.train_arguments, remedy=remedy)
    elif algorithm.train_arguments and conf.training.tunes:
        remedy = (
            f"training.mode is {conf.training.mode}, and AWS gives the jobs of a search no arguments: leave them out"
        )
        yield Problem(field=f"{ALGORITHM}.train_arguments", value=algorithm.train_arguments, remedy=remedy)
    if algorithm.is_builtin:
        yield from _foreign(conf)
        return
    for index, trial in enumerate(conf.training.trials):
        if changed := trial.hyperparameters.as_strings():
            field = f"training.trials.{index}"
            remedy = (
                f"are the built-in algorithm's, and {ALGORITHM}.kind is {algorithm.kind}: set "
                f"{field}.algorithm_hyperparameters"
            )
            yield Problem(field=f"{field}.hyperparameters", value=", ".join(changed), remedy=remedy)


def _foreign(conf: RunConf) -> Iterator[Problem]:
    """What the built-in algorithm does not have."""
    algorithm = conf.training.algorithm
    tables: dict[str, tuple[str, Mapping[str, Any]]] = {
        f"{ALGORITHM}.hyperparameters": ("training.hyperparameters", algorithm.hyperparameters),
        "incremental.algorithm_hyperparameters": (
            "incremental.hyperparameters",
            conf.incremental.algorithm_hyperparameters,
        ),
        **{
            f"training.trials.{index}.algorithm_hyperparameters": (
                f"training.trials.{index}.hyperparameters",
                trial.algorithm_hyperparameters,
            )
            for index, trial in enumerate(conf.training.trials)
        },
    }
    for field, (own, values) in tables.items():
        if values:
            remedy = f"are a script's or a container's, and {ALGORITHM}.kind is builtin: set {own}, or the kind"
            yield Problem(field=field, value=", ".join(values), remedy=remedy)
    if algorithm.image:
        remedy = f"{ALGORITHM}.kind is builtin: set that to container, or leave the image out"
        yield Problem(field=f"{ALGORITHM}.image", value=algorithm.image, remedy=remedy)
    objective = algorithm.objective
    if (objective.metric, objective.direction) != ("validation:accuracy", "Maximize"):
        remedy = "the built-in algorithm is compared by Maximize validation:accuracy only: leave it out"
        yield Problem(field=f"{ALGORITHM}.objective", value=f"{objective.direction} {objective.metric}", remedy=remedy)


def machines_can_train(conf: RunConf) -> Iterator[Problem]:
    """The built-in algorithm trains on some GPU families; AWS's images of a framework know CPUs and GPUs."""
    algorithm, machine = conf.training.algorithm, conf.resources.instance_type
    family = machine.split(".")[1]
    if algorithm.is_builtin and family not in GPU_FAMILIES:
        *rest, last = GPU_FAMILIES
        remedy = f"the built-in algorithm trains on the families {', '.join(rest)} and {last}: choose one of these"
        yield Problem(field="resources.instance_type", value=machine, remedy=remedy)
    if algorithm.kind == "script" and not algorithm.image and machine.startswith(OTHER_CHIPS):
        remedy = f"AWS's image of the framework is for CPUs and GPUs: choose such a machine, or give {ALGORITHM}.image"
        yield Problem(field="resources.instance_type", value=machine, remedy=remedy)


def answers_to_images(conf: RunConf) -> Iterator[Problem]:
    """A script's or a container's models take images as they are sent."""
    algorithm, packing = conf.training.algorithm, conf.dataset.packing
    taken = algorithm.inference.content_types
    if algorithm.is_builtin or not taken:
        return
    as_they_are = packing.pass_through or conf.evaluation.images == "source"
    sent = IMAGE_TYPES if as_they_are else (packed_type(f".{packing.encoding}"),)
    missing = [each for each in sent if each not in taken]
    if missing:
        which = "images are sent as they are" if as_they_are else f"images are packed as {packing.encoding}"
        remedy = f"{which}: add {', '.join(missing)}, or leave the list empty"
        yield Problem(field=f"{ALGORITHM}.inference.content_types", value=", ".join(taken), remedy=remedy)


def metrics_are_defined(conf: RunConf) -> Iterator[Problem]:
    """Each metric is a regular expression with one group; the objective is one of them, and matches the sample line."""
    algorithm = conf.training.algorithm
    if algorithm.is_builtin:
        return
    definitions = algorithm.defined_metrics
    for name, regex in definitions.items():
        yield from _regex_problems(f"{ALGORITHM}.metric_definitions.{name}", name, regex)
    if len(definitions) > 40:
        remedy = "a job has at most 40: leave some out"
        yield Problem(field=f"{ALGORITHM}.metric_definitions", value=len(definitions), remedy=remedy)
    metric = algorithm.objective.metric
    if metric not in definitions:
        remedy = f"is not one of {ALGORITHM}.metric_definitions ({', '.join(definitions)}): define it, or choose one"
        yield Problem(field=f"{ALGORITHM}.objective.metric", value=metric, remedy=remedy)
    elif algorithm.sample_line and _compiled(definitions[metric]) and algorithm.sample_value is None:
        remedy = (
            f"shows no {metric}: its regular expression {definitions[metric]} finds no number there; correct either"
        )
        yield Problem(field=f"{ALGORITHM}.sample_line", value=algorithm.sample_line, remedy=remedy)


def _regex_problems(field: str, name: str, regex: str) -> Iterator[Problem]:
    if not 1 <= len(name) <= 255:
        yield Problem(field=field, value=name, remedy="a metric's name has 1 to 255 characters")
    if not 1 <= len(regex) <= 500:
        yield Problem(field=field, value=regex, remedy=f"has {len(regex)} characters, and 1 to 500 are allowed")
        return
    pattern = _compiled(regex)
    if pattern is None:
        yield Problem(field=field, value=regex, remedy="is not a regular expression: correct it")
    elif pattern.groups != 1:
        remedy = (
            f"has {pattern.groups} groups, and one must have the value: write (...) around the number, (?:...) else"
        )
        yield Problem(field=field, value=regex, remedy=remedy)


def _compiled(regex: str) -> re.Pattern[str] | None:
    try:
        return re.compile(regex)
    except re.error:
        return None


def channels_can_be_made(conf: RunConf) -> Iterator[Problem]:
    """What the images come as suits the dataset, and further channels have names of their own."""
    algorithm = conf.training.algorithm
    if algorithm.is_builtin:
        return
    channels, field = algorithm.channels, f"{ALGORITHM}.channels"
    if channels == "folders" and conf.dataset.multi_label:
        remedy = "an image of a multi-label dataset cannot be in one folder: choose recordio or manifest"
        yield Problem(field=field, value=channels, remedy=remedy)
    if channels == "manifest" and conf.incremental.enabled and conf.incremental.replay < 1:
        remedy = f"{field} is manifest, a table of all images: leave it at 1"
        yield Problem(field="incremental.replay", value=conf.incremental.replay, remedy=remedy)
    for name, address in algorithm.further_channels.items():
        further = f"{ALGORITHM}.further_channels.{name}"
        if not CHANNEL_NAME.fullmatch(name):
            yield Problem(field=further, value=name, remedy="is made of letters, digits, dots, hyphens, _; 64 at most")
        elif name in OWN_CHANNELS:
            yield Problem(field=further, value=name, remedy="is a channel that every job has: give it another name")
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+", address):
            yield Problem(field=further, value=address, remedy="must be an address such as s3://my-bucket/weights.pth")


def free_hyperparameters_fit(conf: RunConf) -> Iterator[Problem]:
    """As many and as long ones as the API takes, and none that are meant for SageMaker's toolkit."""
    tables = {
        f"{ALGORITHM}.hyperparameters": conf.training.algorithm.hyperparameters,
        "incremental.algorithm_hyperparameters": conf.incremental.algorithm_hyperparameters,
    }
    for field, values in tables.items():
        if len(values) > 90:
            yield Problem(field=field, value=len(values), remedy="a job takes 100, and 10 are kept for its toolkit")
        for name, value in values.items():
            if name.startswith(("sagemaker_", "_")) or not 1 <= len(name) <= 256:
                remedy = "is a name that SageMaker keeps for itself, or too long: give it another one"
                yield Problem(field=f"{field}.{name}", value=value, remedy=remedy)
            elif len(str(value)) > 2400:
                remedy = f"has {len(str(value))} characters, and 2,400 are allowed: give it as a channel"
                yield Problem(field=f"{field}.{name}", value=f"{str(value)[:40]}...", remedy=remedy)


def search_has_ranges(conf: RunConf) -> Iterator[Problem]:
    """Of a script or a container it is not known what could be searched."""
    if conf.training.tunes and not conf.training.algorithm.is_builtin and not conf.tuning.ranges:
        yield Problem(field="tuning.ranges", remedy="name the ranges: a script or a container has no usual ones")


def free_range(name: str, span: Range | Choices) -> Iterator[Problem]:
    """What is wrong with the range of a script's or a container's hyperparameter."""
    field = f"tuning.ranges.{name}"
    if not isinstance(span, Range):
        if not 1 <= len(span) <= MOST_CHOICES:
            yield Problem(field=field, value=shown_range(span), remedy=f"list 1 to {MOST_CHOICES} values")
        if len(set(map(str, span))) < len(span):
            yield Problem(field=field, value=shown_range(span), remedy="lists a value twice")
        return
    if span.min >= span.max:
        yield Problem(field=field, value=shown_range(span), remedy="min must be below max")
    if span.kind == "integer" and not (span.min.is_integer() and span.max.is_integer()):
        yield Problem(field=field, value=shown_range(span), remedy="needs whole numbers, as its kind is integer")
    if span.scaling == "Logarithmic" and span.min <= 0:
        yield Problem(field=field, value=shown_range(span), remedy="Logarithmic scaling needs a min above 0")
    if span.scaling == "ReverseLogarithmic" and (span.kind == "integer" or span.min < 0 or span.max >= 1):
        remedy = "ReverseLogarithmic scaling is for continuous values of at least 0 and below 1"
        yield Problem(field=field, value=shown_range(span), remedy=remedy)


def shown_range(span: Range | Choices) -> str:
    """A range as a problem shows it."""
    return f"{span.min:g} to {span.max:g} ({span.scaling})" if isinstance(span, Range) else str(span)


ALGORITHM_RULES: tuple[Callable[[RunConf], Iterator[Problem]], ...] = (
    algorithm_is_whole,
    machines_can_train,
    answers_to_images,
    metrics_are_defined,
    channels_can_be_made,
    free_hyperparameters_fit,
    search_has_ranges,
)
"""What `training.algorithm` and the fields that depend on it may not say together."""

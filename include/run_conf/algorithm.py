"""The section `training.algorithm` of a run conf: which code trains, and what is known of it.

Source of the bounds: API reference of AlgorithmSpecification, MetricDefinition, CreateTrainingJob (HyperParameters).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from include.run_conf.dataset import BUCKET
from include.run_conf.section import COMMA_SEPARATED, ENTRY_IS_SCALAR, ENTRY_IS_TEXT, Scalar, Section
from include.sagemaker.objective import AlgorithmKind, Direction

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

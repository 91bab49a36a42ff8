"""The section `endpoint` of a run conf, with its rules: where the model answers, and how an update reaches it.

Beside it are the fields of the DAGs that take a registered model: to deploy, review or ask it.

Sources of bounds and rules: API reference of CreateEndpointConfig, BlueGreenUpdatePolicy (at most 28,800 seconds in
all), TrafficRoutingConfig and RollingUpdatePolicy; developer guide, "Deployment guardrails" (not for serverless
endpoints) with its page "Exclusions", and "Deploy models with Amazon SageMaker Serverless Inference" (feature
exclusions).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from include.problems import Problem
from include.run_conf.dataset import BUCKET
from include.run_conf.fields import HAS_TO_BE_GIVEN, NAME_PARTS, NAME_PATTERN, Section

if TYPE_CHECKING:
    from include.run_conf import RunConf

WAIT_BETWEEN_STEPS = 300
"""Seconds that alarms are watched after each step, if nothing else was asked."""
LONGEST_ROLLOUT = 28_800
"""Seconds after which SageMaker gives an update up at the latest, and moves all traffic back."""
START_OF_MACHINES = 3600
"""Seconds of these that are left for machines to start."""
RolloutKind = Literal["all_at_once", "canary", "linear", "rolling"]

ALLOWED_PERCENT: dict[RolloutKind, tuple[int, int]] = {"canary": (1, 50), "linear": (10, 50), "rolling": (5, 50)}
"""The least and the most that one step of each kind moves."""


class RolloutConf(Section):
    """How an update moves the traffic of an endpoint that serves already."""

    model_config = ConfigDict(title="Endpoint: rollout")

    kind: RolloutKind = Field(
        "all_at_once",
        title="Kind",
        description="How an update moves the traffic. `all_at_once`: all of it, when the new machines run; `canary`: a "
        "part first, then all; `linear`: in equal steps; `rolling`: machines are replaced in batches. All but "
        "`rolling` need twice the machines during the update.",
    )
    size_percent: int = Field(
        10,
        ge=1,
        le=50,
        title="Step (%)",
        description="The part of the traffic, or of the machines, that one step moves: `canary` 1 to 50, `linear` 10 "
        "to 50, `rolling` 5 to 50.",
    )
    wait_seconds: int | None = Field(
        None,
        ge=0,
        le=3600,
        examples=[600],
        title="Wait (s)",
        description="How long alarms watch the new model after each step; an alarm moves all traffic back, and the run "
        f"fails. Empty: {WAIT_BETWEEN_STEPS}, and no wait for `all_at_once`.",
    )

    @property
    def in_steps(self) -> bool:
        """Whether old and new model answer side by side for a while."""
        return self.kind != "all_at_once"

    @property
    def wait(self) -> int:
        """Seconds that alarms are watched after each step."""
        if self.wait_seconds is not None:
            return self.wait_seconds
        return WAIT_BETWEEN_STEPS if self.in_steps else 0

    @property
    def steps(self) -> int:
        """After how many steps all traffic has moved."""
        if self.kind == "canary":
            return 2
        return math.ceil(100 / self.size_percent) if self.in_steps else 1


class ServerlessConf(Section):
    """An endpoint without machines of its own: each request costs money, and starts when one comes."""

    model_config = ConfigDict(title="Endpoint: serverless")

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] | None = Field(
        None,
        title="Memory (MB)",
        description="Memory of a serverless endpoint. Empty: the endpoint has machines. An endpoint that has "
        "some cannot become serverless.",
    )
    concurrency: int = Field(
        5,
        ge=1,
        le=200,
        title="Concurrency",
        description="Number of requests answered at the same time. Further requests are refused.",
    )

    @property
    def enabled(self) -> bool:
        """Whether the endpoint is serverless."""
        return self.memory_mb is not None


class AutoscalingConf(Section):
    """As many machines as the requests need, within bounds."""

    model_config = ConfigDict(title="Endpoint: autoscaling")

    minimum: int = Field(1, ge=1, le=100, title="Fewest machines", description="Number of machines that always run.")
    maximum: int | None = Field(
        None,
        ge=1,
        le=100,
        examples=[4],
        title="Most machines",
        description="Largest number of machines. Empty: the number of machines is fixed.",
    )
    target: int | None = Field(
        None,
        ge=1,
        examples=[600],
        title="Requests for each machine",
        description="Requests per minute for each machine. Above it machines are added, below it they are removed.",
    )


class EndpointConf(Section):
    """The endpoint that serves the model."""

    model_config = ConfigDict(title="Endpoint")

    name: str = Field(
        "",
        max_length=63,
        pattern=rf"^({NAME_PATTERN[1:-1]})?$",
        json_schema_extra=NAME_PARTS,
        examples=["cats-and-dogs"],
        title="Name",
        description="Name of the endpoint. Empty: the dataset's name.",
    )
    instance_type: str = Field(
        "ml.m5.large",
        pattern=r"^ml\.[a-z0-9]+\.[a-z0-9]+$",
        examples=["ml.m5.large"],
        title="Instance type",
        description="CPU or GPU.",
    )
    instance_count: int = Field(1, ge=1, le=100, title="Machines", description="Machines of the endpoint.")
    capture_percent: int = Field(
        0,
        ge=0,
        le=100,
        title="Captured requests (%)",
        description="Percentage of the requests and answers that are stored under "
        "`s3://OUTPUT/captured/ENDPOINT/`. 0: none.",
    )
    keep_previous: int = Field(
        1,
        ge=1,
        le=20,
        title="Previous models",
        description="Number of earlier configurations of the endpoint that are kept for a rollback, with their models. "
        "Older ones are deleted. Artifacts and the model registry stay.",
    )
    keep: bool = Field(
        True,
        title="Keep",
        description="Off: the endpoint is deleted at the end of the run. Refused for an endpoint that is to stay.",
    )
    deploy: bool = Field(
        True, title="Deploy", description="Deploy the model. Off: the run ends with the registered model."
    )
    rollout: RolloutConf = Field(RolloutConf(), description="How an update moves the traffic.")
    serverless: ServerlessConf = Field(
        ServerlessConf(), description="Settings of an endpoint without machines of its own."
    )
    autoscaling: AutoscalingConf = Field(
        AutoscalingConf(), description="Changes the number of machines with the requests."
    )

    @property
    def machine(self) -> str:
        """The type of machine that answers; empty if none is chosen, as the endpoint is serverless."""
        return "" if self.serverless.enabled else self.instance_type

    @property
    def most_machines(self) -> int:
        """How many machines answer at most."""
        return max(self.instance_count, self.autoscaling.maximum or 0)


class ModelConf(Section):
    """Which registered model is deployed; a field of its own DAG, beside those of the run conf."""

    model_config = ConfigDict(title="Model")

    model_version: int | None = Field(
        None,
        ge=1,
        examples=[1],
        title="Model version",
        description="Number in the dataset's group of the model registry. Empty: the newest approved one.",
    )


class ReviewConf(Section):
    """What a person decides about a registered model; fields of a DAG of its own, beside the dataset's name."""

    model_config = ConfigDict(title="Review")

    model_version: int | None = Field(
        None,
        ge=1,
        examples=[1],
        json_schema_extra=HAS_TO_BE_GIVEN,
        title="Model version",
        description="Number in the dataset's group of the model registry. Required.",
    )
    decision: Literal["approve", "reject"] | None = Field(
        None,
        json_schema_extra=HAS_TO_BE_GIVEN,
        title="Decision",
        description="Whether the version may be deployed. Required.",
    )
    reason: str = Field(
        "",
        max_length=500,
        examples=["The new camera's images matter more than the old ones."],
        json_schema_extra=HAS_TO_BE_GIVEN,
        title="Reason",
        description="Kept with the version in the model registry, with your name. Required.",
    )


class PredictionConf(Section):
    """Which images a model is asked about; fields of a DAG of its own, beside those of the run conf."""

    model_config = ConfigDict(title="Prediction")

    model_of_endpoint: str = Field(
        "",
        max_length=63,
        pattern=rf"^({NAME_PATTERN[1:-1]})?$",
        json_schema_extra=NAME_PARTS,
        examples=["cats-and-dogs"],
        title="Model of an endpoint",
        description="The model that this endpoint serves. Empty: a registered one of `dataset.name`.",
    )
    model_version: int | None = Field(
        None,
        ge=1,
        examples=[1],
        title="Model version",
        description="Number in the dataset's group of the model registry, approved or not. Empty: the champion.",
    )
    source: str = Field(
        "",
        pattern=rf"(?s)^({BUCKET}(/.*)?)?$",
        examples=["s3://my-bucket/new-photos/"],
        json_schema_extra=HAS_TO_BE_GIVEN,
        title="Images",
        description="Prefix whose images are predicted, at any depth. Required.",
    )
    output: str = Field(
        "",
        pattern=rf"(?s)^({BUCKET}(/.*)?)?$",
        examples=["s3://my-bucket/predictions/"],
        title="Output",
        description="Prefix under which `predictions.parquet` is written. Empty: `s3://OUTPUT/predictions/RUN/`.",
    )
    top_k: int = Field(
        5, ge=1, le=1000, title="Classes shown", description="Number of classes in the table for each image."
    )
    threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Threshold",
        description="Lowest probability at which an image shows a class, for a model of several labels per image.",
    )


SIZE = "endpoint.rollout.size_percent"
WAIT = "endpoint.rollout.wait_seconds"
MAXIMUM = "endpoint.autoscaling.maximum"
TARGET = "endpoint.autoscaling.target"
BURSTABLE = re.compile(r"ml\.t\d")


def rollout_is_allowed(conf: RunConf) -> Iterator[Problem]:
    """The step has a size that its kind allows, alarms have time to see something, and all of it ends in time."""
    rollout = conf.endpoint.rollout
    if not rollout.in_steps:
        return
    least, most = ALLOWED_PERCENT[rollout.kind]
    if not least <= rollout.size_percent <= most:
        remedy = f"a {rollout.kind} step is {least} to {most} percent: change it, or endpoint.rollout.kind"
        yield Problem(field=SIZE, value=rollout.size_percent, remedy=remedy)
        return
    if not rollout.wait:
        remedy = f"no alarm has time to watch a {rollout.kind} step: give it some minutes, or choose all_at_once"
        yield Problem(field=WAIT, value=rollout.wait, remedy=remedy)
    longest = LONGEST_ROLLOUT - START_OF_MACHINES
    if rollout.steps * rollout.wait > longest:
        remedy = (
            f"{rollout.steps} steps would wait {rollout.steps * rollout.wait} seconds, and SageMaker gives an update "
            f"{LONGEST_ROLLOUT}, of which machines may take {START_OF_MACHINES} to start: wait at most "
            f"{longest // rollout.steps}, or take larger steps"
        )
        yield Problem(field=WAIT, value=rollout.wait, remedy=remedy)


def serverless_has_no_machines(conf: RunConf) -> Iterator[Problem]:
    """A serverless endpoint has neither machines to replace one by one, nor data capture."""
    endpoint = conf.endpoint
    if not endpoint.serverless.enabled:
        return
    without = "a serverless endpoint has no"
    if endpoint.instance_count > 1:
        remedy = f"{without} machines: set it to 1, or leave endpoint.serverless.memory_mb empty"
        yield Problem(field="endpoint.instance_count", value=endpoint.instance_count, remedy=remedy)
    if endpoint.rollout.in_steps:
        remedy = f"{without} machines to move traffic between: set it to all_at_once"
        yield Problem(field="endpoint.rollout.kind", value=endpoint.rollout.kind, remedy=remedy)
    elif endpoint.rollout.wait:
        yield Problem(field=WAIT, value=endpoint.rollout.wait, remedy=f"{without} old machines to keep: leave it empty")
    if endpoint.autoscaling.maximum:
        remedy = f"{without} machines to add: leave it empty"
        yield Problem(field=MAXIMUM, value=endpoint.autoscaling.maximum, remedy=remedy)
    if endpoint.capture_percent:
        remedy = f"{without} data capture: set it to 0"
        yield Problem(field="endpoint.capture_percent", value=endpoint.capture_percent, remedy=remedy)


def autoscaling_has_bounds(conf: RunConf) -> Iterator[Problem]:
    """An endpoint that is scaled has a most and a target, begins between its bounds, and is not burstable."""
    scaling, count = conf.endpoint.autoscaling, conf.endpoint.instance_count
    if scaling.maximum is None:
        if scaling.target is not None:
            remedy = f"no machine is added without {MAXIMUM}: set it, or leave both empty"
            yield Problem(field=TARGET, value=scaling.target, remedy=remedy)
        return
    if BURSTABLE.match(conf.endpoint.instance_type):
        remedy = f"SageMaker does not scale burstable machines: take another one, or leave {MAXIMUM} empty"
        yield Problem(field="endpoint.instance_type", value=conf.endpoint.instance_type, remedy=remedy)
    if scaling.target is None:
        remedy = f"give the requests per minute above which machines are added, or leave {MAXIMUM} empty"
        yield Problem(field=TARGET, remedy=remedy)
    if scaling.minimum > scaling.maximum:
        remedy = f"must be at least endpoint.autoscaling.minimum ({scaling.minimum})"
        yield Problem(field=MAXIMUM, value=scaling.maximum, remedy=remedy)
    elif not scaling.minimum <= count <= scaling.maximum:
        remedy = f"must be between the bounds of endpoint.autoscaling, {scaling.minimum} and {scaling.maximum}"
        yield Problem(field="endpoint.instance_count", value=count, remedy=remedy)


ENDPOINT_RULES: tuple[Callable[[RunConf], Iterator[Problem]], ...] = (
    rollout_is_allowed,
    autoscaling_has_bounds,
    serverless_has_no_machines,
)
"""What a run conf may not say about its endpoint: what SageMaker would refuse."""

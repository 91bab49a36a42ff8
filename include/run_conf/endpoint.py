"""The section `endpoint` of a run conf: where the model answers, and how an update reaches it.

Sources of the bounds: API reference of CreateEndpointConfig, BlueGreenUpdatePolicy, TrafficRoutingConfig and
RollingUpdatePolicy.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import ConfigDict, Field

from include.run_conf.section import NAME_PARTS, NAME_PATTERN, Section

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

"""What a run conf may not say about its endpoint: what SageMaker would refuse.

Sources: API reference of TrafficRoutingConfig, BlueGreenUpdatePolicy (at most 28,800 seconds in all) and
RollingUpdatePolicy; developer guide, "Deployment guardrails" (not for serverless endpoints) with its page "Exclusions",
and "Deploy models with Amazon SageMaker Serverless Inference" (feature exclusions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from include.problems import Problem
from include.run_conf.endpoint import ALLOWED_PERCENT, LONGEST_ROLLOUT, START_OF_MACHINES
from include.run_conf.sections import RunSections

SIZE = "endpoint.rollout.size_percent"
WAIT = "endpoint.rollout.wait_seconds"
MAXIMUM = "endpoint.autoscaling.maximum"
TARGET = "endpoint.autoscaling.target"
BURSTABLE = re.compile(r"ml\.t\d")


def rollout_is_allowed(conf: RunSections) -> Iterator[Problem]:
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


def serverless_has_no_machines(conf: RunSections) -> Iterator[Problem]:
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


def autoscaling_has_bounds(conf: RunSections) -> Iterator[Problem]:
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

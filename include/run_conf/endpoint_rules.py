"""What a run conf may not say of its endpoint: rollouts that SageMaker would refuse.

Sources: API reference of TrafficRoutingConfig, BlueGreenUpdatePolicy (at most 28,800 seconds in all) and
RollingUpdatePolicy; developer guide, "Deployment guardrails" and its page "Exclusions".
"""

from __future__ import annotations

from collections.abc import Iterator

from include.problems import Problem
from include.run_conf.endpoint import ALLOWED_PERCENT, LONGEST_ROLLOUT, START_OF_MACHINES
from include.run_conf.sections import RunSections

SIZE = "endpoint.rollout.size_percent"
WAIT = "endpoint.rollout.wait_seconds"


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
        remedy = f"no alarm has time to see what a {rollout.kind} step does: give it some minutes, or say all_at_once"
        yield Problem(field=WAIT, value=rollout.wait, remedy=remedy)
    longest = LONGEST_ROLLOUT - START_OF_MACHINES
    if rollout.steps * rollout.wait > longest:
        remedy = (
            f"{rollout.steps} steps would wait {rollout.steps * rollout.wait} seconds, and SageMaker gives an update "
            f"{LONGEST_ROLLOUT}, of which machines may take {START_OF_MACHINES} to start: wait at most "
            f"{longest // rollout.steps}, or take larger steps"
        )
        yield Problem(field=WAIT, value=rollout.wait, remedy=remedy)

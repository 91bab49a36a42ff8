"""What AWS refuses in a DeploymentConfig.

Source: docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html, API_BlueGreenUpdatePolicy.html,
API_RollingUpdatePolicy.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_aws.aws_errors import validation_error


def check_deployment(config: Mapping[str, Any], instances: int) -> None:
    """Check a DeploymentConfig for a fleet of `instances`; raises ValidationException."""
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    if blue_green and rolling:
        raise validation_error("DeploymentConfig takes either BlueGreenUpdatePolicy or RollingUpdatePolicy, not both.")
    if blue_green:
        _check_traffic(blue_green["TrafficRoutingConfiguration"], instances)
    if rolling:
        _check_share("MaximumBatchSize", rolling["MaximumBatchSize"], instances, 5, 50)
        if "RollbackMaximumBatchSize" in rolling:
            _check_share("RollbackMaximumBatchSize", rolling["RollbackMaximumBatchSize"], instances, 5, 100)


def _check_traffic(routing: Mapping[str, Any], instances: int) -> None:
    kind = routing["Type"]
    for size, wanted_by, least in (("CanarySize", "CANARY", 1), ("LinearStepSize", "LINEAR", 10)):
        if (size in routing) != (kind == wanted_by):
            verb = "is required" if kind == wanted_by else "can't be given"
            raise validation_error(f"{size} {verb} when the traffic routing type is {kind}.")
        if size in routing:
            _check_share(size, routing[size], instances, least, 50)


def _check_share(field: str, size: Mapping[str, Any], instances: int, least: int, most: int) -> None:
    value = size["Value"]
    if size["Type"] == "CAPACITY_PERCENT":
        if not least <= value <= most:
            raise validation_error(f"{field} must be {least} to {most} percent of the capacity, not {value}.")
    elif value > max(1, instances * most // 100):
        raise validation_error(
            f"{field} must be at most {most} percent of the endpoint's {instances} instances, not {value} instances."
        )

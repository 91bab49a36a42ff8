"""moto's endpoints with what moto lacks: updates, which take until `settle`, and a process that is killed at a call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.base_backend import BaseBackend
from moto.sagemaker.models import SageMakerModelBackend, sagemaker_backends

from tests.support.documents import VARIABLE

ACCOUNT = "123456789012"
SERVICES = (sagemaker_backends, cloudwatch_backends, applicationautoscaling_backends)
"""What of moto a deployment changes."""


class KilledError(BaseException):
    """The process of a task is gone; nothing catches that."""


@dataclass
class ChangingEndpoints:
    """A SageMaker client on moto. An update is under way until `settle`; `undone` of them go back, with a reason.

    With `refuses_updates` there is none. `strike` is asked after each call that changes something, by its name; it may
    raise KilledError.
    """

    client: Any
    strike: Callable[[str], None] = lambda _: None
    undone: Callable[[str], str | None] = lambda _: None
    refuses_updates: bool = False
    updates: list[dict[str, Any]] = field(default_factory=list)
    _pending: dict[str, str] = field(default_factory=dict)
    _rollouts: dict[str, Any] = field(default_factory=dict)
    _reasons: dict[str, str | None] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if not name.startswith(("create_", "delete_", "add_", "put_")):
            return method

        def changing(**request: Any) -> Any:
            answer = method(**request)
            self.strike(name)
            return answer

        return changing

    def describe_endpoint(self, *, EndpointName: str) -> dict[str, Any]:
        described = {**self.client.describe_endpoint(EndpointName=EndpointName)}
        if rollout := self._rollouts.get(EndpointName):
            described["LastDeploymentConfig"] = rollout
        if EndpointName in self._pending:
            pending = {"EndpointConfigName": self._pending[EndpointName]}
            described |= {"EndpointStatus": "Updating", "PendingDeploymentSummary": pending}
        elif self._reasons.get(EndpointName):
            described["FailureReason"] = self._reasons[EndpointName]
        return described

    def update_endpoint(self, **request: Any) -> None:
        name = request["EndpointName"]
        assert name not in self._pending, "AWS refuses a second update while one is under way"
        if self.refuses_updates:
            error = {"Code": "ResourceLimitExceeded", "Message": "no machines are left"}
            raise ClientError({"Error": error}, "UpdateEndpoint")
        self.client.describe_endpoint_config(EndpointConfigName=request["EndpointConfigName"])
        self._pending[name] = request["EndpointConfigName"]
        self._rollouts[name] = request.get("DeploymentConfig")
        self.updates.append(request)
        self.strike("update_endpoint")

    def remember(self) -> Callable[[], None]:
        """Take down what is there, in moto too; the answer brings it back, as often as it is called."""
        own = {name: vars(self)[name] for name in ("updates", "_pending", "_rollouts", "_reasons")}
        backends: list[Any] = [service[ACCOUNT][VARIABLE["region"]] for service in SERVICES]
        state = [own, *(dict(vars(backend)) for backend in backends)]
        # Backends refer to each other: those are not copied.
        known = [value for part in state for value in part.values() if isinstance(value, BaseBackend)]
        uncopied = {id(backend): backend for backend in (*backends, *known)}
        remembered = copy.deepcopy(state, dict(uncopied))

        def bring_back() -> None:
            for owner, part in zip((self, *backends), copy.deepcopy(remembered, dict(uncopied)), strict=True):
                vars(owner).update(part)

        return bring_back

    def aim(self, name: str, config: str) -> None:
        """Let the update under way end at another configuration: another run has asked for it since."""
        self._pending[name] = config

    def settle(self) -> None:
        """End all updates."""
        for name, config in self._pending.items():
            self._reasons[name] = self.undone(config)
            if self._reasons[name] is None:
                backend = sagemaker_backends[ACCOUNT][VARIABLE["region"]]
                backend.endpoints[name].endpoint_config_name = config
        self._pending.clear()


def replace_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a tag take the place of one with its key, as on AWS: moto keeps both, and its pages of them never end."""

    def add_tags(backend: SageMakerModelBackend, arn: str, tags: list[dict[str, str]]) -> list[dict[str, str]]:
        resource = backend._get_resource_from_arn(arn)
        given = {tag["Key"] for tag in tags}
        resource.tags = [*(tag for tag in resource.tags if tag["Key"] not in given), *tags]
        return list(resource.tags)

    monkeypatch.setattr(SageMakerModelBackend, "add_tags", add_tags)


def killed_at(place: int) -> Callable[[str], None]:
    """Strikes once, at the call of this number; the calls before and after it are let through."""
    places: Iterator[int] = iter(range(1_000_000))

    def strike(call: str) -> None:
        if next(places) == place:
            raise KilledError(call)

    return strike

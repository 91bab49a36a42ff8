"""Automatic scaling of variants: targets, policies and schedules are kept and described, and the counts stay.

Sources: docs.aws.amazon.com/autoscaling/application/APIReference/ (each action), .../sagemaker/latest/dg/
endpoint-auto-scaling.html and the pages below it.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from local_aws.account import Aws
from local_aws.aws_errors import AwsError, not_local, validation_error
from local_aws.sagemaker.core.area import Action, Document
from local_aws.sagemaker.core.resource_table import now, page_of

NAMESPACE = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
RESOURCE = re.compile(r"endpoint/(?P<endpoint>[^/]+)/variant/(?P<variant>[^/]+)")
BURSTABLE = re.compile(r"ml\.t\d")
SCALES_BY_DEFAULT = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}
CONFIGURATIONS = {
    "TargetTrackingScaling": "TargetTrackingScalingPolicyConfiguration",
    "StepScaling": "StepScalingPolicyConfiguration",
}
SCHEDULE = ("Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction")
"""Members of PutScheduledAction that are kept."""
LARGEST_PAGE = 50


@dataclass(frozen=True)
class Scaled:
    """A variant that may be scaled: its machine, None if it is serverless."""

    endpoint: str
    variant: str
    instance_type: str | None


@dataclass
class Policy:
    """A scaling policy of a target, as it was asked for."""

    name: str
    arn: str
    kind: str
    configuration: Document
    creation_time: datetime = field(default_factory=now)
    status: str = ""

    @property
    def last_modified_time(self) -> datetime:
        """Policies are listed by the time at which they were made."""
        return self.creation_time


@dataclass
class ScheduledAction:
    """Other limits of a target from a time on, as they were asked for."""

    name: str
    arn: str
    content: Document
    creation_time: datetime = field(default_factory=now)
    status: str = ""

    @property
    def last_modified_time(self) -> datetime:
        """Scheduled actions are listed by the time at which they were made."""
        return self.creation_time


Owned = TypeVar("Owned", Policy, ScheduledAction)
"""What a target has several of, each with a name and an ARN."""


@dataclass
class ScalableTarget:
    """A variant registered for scaling between two instance counts, with its policies and schedules."""

    name: str
    scaled: Scaled
    arn: str
    role: str
    minimum: int
    maximum: int
    suspended: Document
    policies: dict[str, Policy] = field(default_factory=dict)
    schedules: dict[str, ScheduledAction] = field(default_factory=dict)
    creation_time: datetime = field(default_factory=now)
    status: str = ""

    @property
    def last_modified_time(self) -> datetime:
        """Targets are listed by the time at which they were registered."""
        return self.creation_time

    @property
    def identity(self) -> Document:
        """What names it in the API."""
        return {"ServiceNamespace": NAMESPACE, "ResourceId": self.name, "ScalableDimension": DIMENSION}

    def describe(self) -> Document:
        """The target as DescribeScalableTargets gives it."""
        return {
            **self.identity,
            "MinCapacity": self.minimum,
            "MaxCapacity": self.maximum,
            "RoleARN": self.role,
            "CreationTime": self.creation_time,
            "SuspendedState": self.suspended,
            "ScalableTargetARN": self.arn,
        }

    def describe_policy(self, policy: Policy) -> Document:
        """One of its policies as DescribeScalingPolicies gives it."""
        return {
            **self.identity,
            "PolicyARN": policy.arn,
            "PolicyName": policy.name,
            "PolicyType": policy.kind,
            CONFIGURATIONS[policy.kind]: policy.configuration,
            "Alarms": [],
            "CreationTime": policy.creation_time,
        }

    def describe_schedule(self, action: ScheduledAction) -> Document:
        """One of its schedules as DescribeScheduledActions gives it."""
        return {
            **self.identity,
            "ScheduledActionName": action.name,
            "ScheduledActionARN": action.arn,
            **action.content,
            "CreationTime": action.creation_time,
        }


class Scaling:
    """The targets and policies of one account and region; `find` gives a variant that serves, by its endpoint."""

    def __init__(self, aws: Aws, find: Callable[[str, str], Scaled | None]) -> None:
        self._aws = aws
        self._find = find
        self._lock = threading.RLock()
        self._targets: dict[str, ScalableTarget] = {}

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions of Application Auto Scaling on variants; `request` has the namespace of SageMaker."""
        return {
            "RegisterScalableTarget": self.register,
            "DeregisterScalableTarget": self.deregister,
            "DescribeScalableTargets": self.describe_targets,
            "PutScalingPolicy": self.put_policy,
            "DeleteScalingPolicy": self.delete_policy,
            "DescribeScalingPolicies": self.describe_policies,
            "PutScheduledAction": self.put_schedule,
            "DeleteScheduledAction": self.delete_schedule,
            "DescribeScheduledActions": self.describe_schedules,
            "DescribeScalingActivities": lambda _: {"ScalingActivities": []},
        }

    def register(self, request: Document) -> Document:
        """RegisterScalableTarget: a new target, or other limits for one that is there."""
        name, scaled = request["ResourceId"], self._scaled(request)
        with self._lock:
            target = self._targets.get(name)
            minimum = request.get("MinCapacity", target.minimum if target else None)
            maximum = request.get("MaxCapacity", target.maximum if target else None)
            if minimum is None or maximum is None:
                raise validation_error("MinCapacity and MaxCapacity must both be given to register a scalable target.")
            if maximum < minimum:
                raise validation_error("Maximum capacity cannot be less than minimum capacity")
            if target is None:
                arn = f"{self._arn('application-autoscaling')}:scalable-target/{uuid.uuid4().hex}"
                target = ScalableTarget(name, scaled, arn, self._role(), minimum, maximum, dict(SCALES_BY_DEFAULT))
                self._targets[name] = target
            target.minimum, target.maximum = minimum, maximum
            target.suspended = {**target.suspended, **request.get("SuspendedState", {})}
            return {"ScalableTargetARN": target.arn}

    def deregister(self, request: Document) -> Document:
        """DeregisterScalableTarget: its policies and schedules go with it."""
        with self._lock:
            self._targets.pop(self._target(request, "No scalable target found").name)
            return {}

    def describe_targets(self, request: Document) -> Document:
        """DescribeScalableTargets."""
        _check_filter("ResourceIds" in request, request)
        wanted = request.get("ResourceIds")
        with self._lock:
            found = [target for target in self._targets.values() if wanted is None or target.name in wanted]
            return _page(found, request, "ScalableTargets", ScalableTarget.describe)

    def put_policy(self, request: Document) -> Document:
        """PutScalingPolicy: a new policy of a registered target, or another content of one that is there."""
        with self._lock:
            target = self._target(request, "No scalable target registered")
            name, kind = request["PolicyName"], request.get("PolicyType", "StepScaling")
            configuration = _configuration(kind, request)
            known = target.policies.get(name)
            arn = known.arn if known is not None else self._policy_arn(target, name)
            target.policies[name] = Policy(name, arn, kind, configuration)
            return {"PolicyARN": arn, "Alarms": []}

    def delete_policy(self, request: Document) -> Document:
        """DeleteScalingPolicy."""
        with self._lock:
            target = self._targets.get(request["ResourceId"])
            if target is None or target.policies.pop(request["PolicyName"], None) is None:
                raise _not_found("No scaling policy found", request, f", policy name: {request['PolicyName']}")
            return {}

    def describe_policies(self, request: Document) -> Document:
        """DescribeScalingPolicies."""
        key, names = "ScalingPolicies", request.get("PolicyNames")
        return self._list(request, key, names, lambda target: target.policies, ScalableTarget.describe_policy)

    def put_schedule(self, request: Document) -> Document:
        """PutScheduledAction: a new schedule of a registered target, or another content of one that is there."""
        with self._lock:
            target = self._target(request, "No scalable target registered")
            name, known = request["ScheduledActionName"], target.schedules.get(request["ScheduledActionName"])
            given = {member: request[member] for member in SCHEDULE if member in request}
            content = {**(known.content if known else {}), **given}
            if not {"Schedule", "ScalableTargetAction"} <= content.keys():
                raise validation_error("A new scheduled action needs a Schedule and a ScalableTargetAction.")
            resource = f"resource/{NAMESPACE}/{target.name}:scheduledActionName/{name}"
            arn = known.arn if known else f"{self._arn('autoscaling')}:scheduledAction:{uuid.uuid4()}:{resource}"
            target.schedules[name] = ScheduledAction(name, arn, content)
            return {}

    def delete_schedule(self, request: Document) -> Document:
        """DeleteScheduledAction."""
        with self._lock:
            target = self._targets.get(request["ResourceId"])
            name = request["ScheduledActionName"]
            if target is None or target.schedules.pop(name, None) is None:
                raise _not_found("No scheduled action found", request, f", scheduled action name: {name}")
            return {}

    def describe_schedules(self, request: Document) -> Document:
        """DescribeScheduledActions."""
        key, names = "ScheduledActions", request.get("ScheduledActionNames")
        return self._list(request, key, names, lambda target: target.schedules, ScalableTarget.describe_schedule)

    def check_update(self, endpoint: str, instance_types: Mapping[str, str]) -> None:
        """Refuse an update that gives a registered variant another machine; raises ValidationException."""
        with self._lock:
            targets = [target.scaled for target in self._targets.values() if target.scaled.endpoint == endpoint]
        for scaled in targets:
            wanted = instance_types.get(scaled.variant, scaled.instance_type)
            if wanted != scaled.instance_type:
                raise validation_error(
                    f"The instance type of variant {scaled.variant} can't be changed from {scaled.instance_type} to "
                    f"{wanted} while the variant is a target of automatic scaling. Call DeregisterScalableTarget first."
                )

    def keep(self, endpoint: str, variants: Sequence[str]) -> None:
        """Deregister the variants of an endpoint that are gone; `variants` are those left."""
        with self._lock:
            self._targets = {
                name: target
                for name, target in self._targets.items()
                if target.scaled.endpoint != endpoint or target.scaled.variant in variants
            }

    def _list(
        self,
        request: Document,
        key: str,
        names: Sequence[str] | None,
        owned: Callable[[ScalableTarget], Mapping[str, Owned]],
        describe: Callable[[ScalableTarget, Owned], Document],
    ) -> Document:
        """One page of what targets have: of one target, of some names, or all."""
        _check_filter("ResourceId" in request, request)
        resource = request.get("ResourceId")
        with self._lock:
            targets = [target for target in self._targets.values() if resource in (None, target.name)]
            found = [(one, target) for target in targets for one in owned(target).values()]
            wanted = [(one, target) for one, target in found if names is None or one.name in names]
            owners = {one.arn: target for one, target in wanted}
            return _page((one for one, _ in wanted), request, key, lambda one: describe(owners[one.arn], one))

    def _scaled(self, request: Document) -> Scaled:
        """The variant that a request names; raises ValidationException for one that cannot be scaled."""
        dimension = request["ScalableDimension"]
        named = RESOURCE.fullmatch(request["ResourceId"])
        if dimension.startswith(f"{NAMESPACE}:") and dimension != DIMENSION:
            raise not_local(f"ScalableDimension {dimension}")
        if named is None or dimension != DIMENSION:
            raise validation_error("Unsupported service namespace, resource type or scalable dimension")
        scaled = self._find(named["endpoint"], named["variant"])
        if scaled is None:
            raise validation_error(f"There is no endpoint variant {request['ResourceId']} in service.")
        if scaled.instance_type is None:
            raise validation_error(f"Variant {scaled.variant} is serverless: it has no instances to scale.")
        if BURSTABLE.match(scaled.instance_type):
            raise validation_error(
                f"Variant {scaled.variant} can't be scaled automatically: {scaled.instance_type} is burstable."
            )
        return scaled

    def _target(self, request: Document, missing: str) -> ScalableTarget:
        target = self._targets.get(request["ResourceId"])
        if target is None or request["ScalableDimension"] != DIMENSION:
            raise _not_found(missing, request)
        return target

    def _policy_arn(self, target: ScalableTarget, name: str) -> str:
        resource = f"resource/{NAMESPACE}/{target.name}:policyName/{name}"
        return f"{self._arn('autoscaling')}:scalingPolicy:{uuid.uuid4()}:{resource}"

    def _arn(self, service: str) -> str:
        return f"arn:{self._aws.partition}:{service}:{self._aws.region}:{self._aws.account}"

    def _role(self) -> str:
        """The role that AWS makes for itself, whatever the request names."""
        return (
            f"arn:{self._aws.partition}:iam::{self._aws.account}:role/aws-service-role/sagemaker.application-autoscaling."
            "amazonaws.com/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
        )


def _configuration(kind: str, request: Document) -> Document:
    """The configuration of a policy; raises ValidationException where it does not fit its type."""
    if kind not in CONFIGURATIONS:
        raise not_local(f"PolicyType {kind}")
    for other, member in CONFIGURATIONS.items():
        if (member in request) != (other == kind):
            verb = "must" if other == kind else "can't"
            raise validation_error(f"{member} {verb} be given for the policy type {kind}.")
    configuration: Document = request[CONFIGURATIONS[kind]]
    if kind == "TargetTrackingScaling":
        _check_tracked(configuration)
    return configuration


def _check_tracked(configuration: Document) -> None:
    predefined = configuration.get("PredefinedMetricSpecification")
    if (predefined is None) == ("CustomizedMetricSpecification" not in configuration):
        raise validation_error("Either PredefinedMetricSpecification or CustomizedMetricSpecification must be given.")
    if predefined is not None and not predefined["PredefinedMetricType"].startswith("SageMakerVariant"):
        raise validation_error(
            f"PredefinedMetricType {predefined['PredefinedMetricType']} can't be used for {DIMENSION}."
        )


def _check_filter(names_resource: bool, request: Document) -> None:
    if "ScalableDimension" in request and not names_resource:
        raise validation_error("ScalableDimension can only be given together with a resource ID.")


def _page(found: Iterable[Any], request: Document, key: str, describe: Callable[[Any], Document]) -> Document:
    size = min(request.get("MaxResults", LARGEST_PAGE), LARGEST_PAGE)
    return page_of(found, {"MaxResults": size, **_token(request)}, key, describe)


def _token(request: Document) -> Document:
    return {"NextToken": request["NextToken"]} if "NextToken" in request else {}


def _not_found(what: str, request: Document, more: str = "") -> AwsError:
    return AwsError(
        "ObjectNotFoundException",
        f"{what} for service namespace: {NAMESPACE}, resource ID: {request['ResourceId']}, scalable dimension: "
        f"{request['ScalableDimension']}{more}",
    )

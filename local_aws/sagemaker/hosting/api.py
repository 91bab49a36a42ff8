"""Endpoints: created, updated, weighted and deleted, with their processes."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from local_aws.aws_errors import AwsError, already_existing, could_not_find, validation_error
from local_aws.sagemaker.core.area import Action, Area, Document, Neighbours
from local_aws.sagemaker.core.resource_table import ResourceTable, now
from local_aws.sagemaker.core.tags import Tags, check_tags
from local_aws.sagemaker.hosting.deployment_rules import check_deployment
from local_aws.sagemaker.hosting.model import EndpointConfig, Hosting
from local_aws.sagemaker.hosting.run import DeploymentError, Fleet, Variant

log = logging.getLogger(__name__)

LONGEST_REASON = 1024
CLOSE_GRACE_SECONDS = 1.0


@dataclass
class Endpoint:
    """An endpoint: `fleet` answers requests, `pending` is being started to replace it."""

    name: str
    arn: str
    config: EndpointConfig
    status: str = "Creating"
    failure_reason: str | None = None
    deployment_config: Document | None = None
    fleet: Fleet | None = None
    pending: Fleet | None = None
    creation_time: datetime = field(default_factory=now)
    last_modified_time: datetime = field(default_factory=now)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def turn(self, status: str, reason: str | None = None) -> None:
        """Enter a status."""
        self.status = status
        self.failure_reason = reason[:LONGEST_REASON] if reason else None
        self.last_modified_time = now()


class Endpoints(Area):
    """Endpoints and the traffic to them."""

    resource_types = frozenset({"endpoint"})

    def __init__(self, sagemaker: Neighbours) -> None:
        super().__init__(sagemaker)
        self._endpoints: ResourceTable[Endpoint] = ResourceTable(
            taken=lambda endpoint: already_existing("endpoint", endpoint.arn),
            unknown=lambda name: could_not_find("endpoint", self.aws.arn("endpoint", name)),
        )

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions on endpoints."""
        return {
            "CreateEndpoint": self.create,
            "DescribeEndpoint": lambda request: _describe(self._endpoints.get(request["EndpointName"])),
            "ListEndpoints": self.list_endpoints,
            "UpdateEndpoint": self.update,
            "UpdateEndpointWeightsAndCapacities": self.update_weights,
            "DeleteEndpoint": self.delete,
        }

    def create(self, request: Document) -> Document:
        """CreateEndpoint: Creating, then InService when every variant answers /ping, or Failed with the reason."""
        name = request["EndpointName"]
        config = self.sagemaker.area(Hosting).configs.get(request["EndpointConfigName"])
        self._check_deployment(request, config)
        endpoint = Endpoint(name, self.aws.arn("endpoint", name), config)
        tags = request.get("Tags", [])
        check_tags(tags)
        if self._endpoints.find(name) is not None:
            raise already_existing("endpoint", endpoint.arn)
        endpoint.pending = self._fleet(name, config)
        endpoint.deployment_config = request.get("DeploymentConfig")
        self._endpoints.add(endpoint)
        self.sagemaker.area(Tags).register(endpoint.arn, tags)
        _in_background(f"deploy-{name}", self._deploy, endpoint)
        return {"EndpointArn": endpoint.arn}

    def list_endpoints(self, request: Document) -> Document:
        """ListEndpoints."""
        return self._endpoints.page(request, "Endpoints", _summary, sort_order="Descending")

    def update(self, request: Document) -> Document:
        """UpdateEndpoint: the old fleet serves until the new one is healthy, and on when it is not."""
        endpoint = self._endpoints.get(request["EndpointName"])
        config = self.sagemaker.area(Hosting).configs.get(request["EndpointConfigName"])
        self._check_deployment(request, config)
        excluded = {entry["VariantPropertyType"] for entry in request.get("ExcludeRetainedVariantProperties", ())}
        if excluded and not request.get("RetainAllVariantProperties"):
            raise validation_error(
                "ExcludeRetainedVariantProperties can only be given when RetainAllVariantProperties is true."
            )
        with endpoint.lock:
            _check_in_service(endpoint)
            fleet = self._fleet(endpoint.name, config)
            if request.get("RetainAllVariantProperties") and endpoint.fleet is not None:
                _retain(endpoint.fleet, fleet, excluded)
            if not request.get("RetainDeploymentConfig"):
                endpoint.deployment_config = request.get("DeploymentConfig")
            endpoint.pending = fleet
            endpoint.turn("Updating")
        _in_background(f"deploy-{endpoint.name}", self._deploy, endpoint)
        return {"EndpointArn": endpoint.arn}

    def update_weights(self, request: Document) -> Document:
        """UpdateEndpointWeightsAndCapacities: traffic follows the new weights at once."""
        endpoint = self._endpoints.get(request["EndpointName"])
        with endpoint.lock:
            _check_in_service(endpoint)
            asked = request["DesiredWeightsAndCapacities"]
            changes = [(_variant(endpoint, change["VariantName"]), change) for change in asked]
            for variant, change in changes:
                _check_capacity(variant, change)
            endpoint.turn("Updating")
            for variant, change in changes:
                variant.weight = change.get("DesiredWeight", variant.weight)
                variant.instances = change.get("DesiredInstanceCount", variant.instances)
                if variant.serverless is not None:
                    variant.serverless = {**variant.serverless, **change.get("ServerlessUpdateConfig", {})}
        _in_background(f"weights-{endpoint.name}", _back_in_service, endpoint)
        return {"EndpointArn": endpoint.arn}

    def delete(self, request: Document) -> Document:
        """DeleteEndpoint: Deleting until its processes have ended, then unknown."""
        endpoint = self._endpoints.get(request["EndpointName"])
        with endpoint.lock:
            if endpoint.status == "Deleting":
                return {}
            endpoint.turn("Deleting")
        _in_background(f"delete-{endpoint.name}", self._delete, endpoint)
        return {}

    @contextlib.contextmanager
    def routed(self, name: str, target: str | None) -> Iterator[Variant]:
        """Give the variant a request goes to, which is not stopped while the request is under way.

        Raises ValidationError when the endpoint or the target variant is not there, or not serving.
        """
        endpoint = self._endpoints.find(name)
        if endpoint is None or endpoint.status == "Deleting":
            raise AwsError("ValidationError", f"Endpoint {name} of account {self.aws.account} not found.")
        with endpoint.lock:
            fleet = endpoint.fleet
            if fleet is None:
                raise AwsError("ValidationError", f"Endpoint {name} of account {self.aws.account} not found.")
            variant = fleet.variant(target) if target is not None else fleet.pick()
            if variant is None:
                raise AwsError("ValidationError", f"Could not find variant {target} of endpoint {name}.")
            fleet.enter()
        try:
            yield variant
        finally:
            fleet.leave()

    def close(self) -> None:
        """End every serving process."""
        fleets = [fleet for endpoint in self._endpoints.all() for fleet in (endpoint.fleet, endpoint.pending) if fleet]
        with ThreadPoolExecutor(max_workers=max(1, len(fleets))) as pool:
            list(pool.map(lambda fleet: fleet.end_processes(CLOSE_GRACE_SECONDS), fleets))

    def _fleet(self, name: str, config: EndpointConfig) -> Fleet:
        models = self.sagemaker.area(Hosting).models
        found = {variant["ModelName"]: models.get(variant["ModelName"]) for variant in config.variants}
        return Fleet(self.aws, name, config, found)

    def _check_deployment(self, request: Document, config: EndpointConfig) -> None:
        if "DeploymentConfig" in request:
            check_deployment(request["DeploymentConfig"], config.instances)

    def _deploy(self, endpoint: Endpoint) -> None:
        """Start the pending fleet and let it take over, or roll back."""
        fresh, old = endpoint.pending, endpoint.fleet
        if fresh is None:
            return
        try:
            fresh.start()
        except DeploymentError as error:
            self._roll_back(endpoint, str(error))
            return
        except Exception as error:
            log.exception("endpoint %s could not be deployed", endpoint.name)
            self._roll_back(endpoint, f"The local AWS failed: {type(error).__name__}: {error}")
            return
        with endpoint.lock:
            endpoint.pending = None
            if endpoint.status == "Deleting":
                old = fresh
            else:
                endpoint.fleet, endpoint.config = fresh, fresh.config
                endpoint.turn("InService")
        if old is not None:
            old.drain()
            old.stop()

    def _roll_back(self, endpoint: Endpoint, reason: str) -> None:
        with endpoint.lock:
            endpoint.pending = None
            if endpoint.status != "Deleting":
                endpoint.turn("InService" if endpoint.fleet is not None else "Failed", reason)

    def _delete(self, endpoint: Endpoint) -> None:
        for fleet in (endpoint.pending, endpoint.fleet):
            if fleet is not None:
                fleet.stop()
        self._endpoints.remove(endpoint.name)
        self.sagemaker.area(Tags).forget(endpoint.arn)


def _check_in_service(endpoint: Endpoint) -> None:
    if endpoint.status == "Failed":
        raise validation_error(f'Cannot update failed endpoint "{endpoint.arn}". Delete it and create it again.')
    if endpoint.status != "InService":
        raise validation_error(f'Cannot update in-progress endpoint "{endpoint.arn}".')


def _retain(old: Fleet, fresh: Fleet, excluded: set[str]) -> None:
    """Carry the old weights and instance counts over to the variants of the same names."""
    for variant in fresh.variants:
        before = old.variant(variant.name)
        if before is not None and "DesiredWeight" not in excluded:
            variant.weight = before.weight
        if before is not None and "DesiredInstanceCount" not in excluded:
            variant.instances = before.instances


def _variant(endpoint: Endpoint, name: str) -> Variant:
    variant = endpoint.fleet.variant(name) if endpoint.fleet is not None else None
    if variant is None:
        raise validation_error(
            f'The variant name(s) "{name}" is/are not present within endpoint configuration "{endpoint.config.arn}".'
        )
    return variant


def _check_capacity(variant: Variant, change: Document) -> None:
    """Refuse an instance count for a serverless variant, and a serverless capacity for one with instances."""
    foreign = "ServerlessUpdateConfig" if variant.serverless is None else "DesiredInstanceCount"
    if foreign in change:
        kind = "has instances" if variant.serverless is None else "is serverless"
        raise validation_error(f"{foreign} can't be given for variant {variant.name}, which {kind}.")


def _back_in_service(endpoint: Endpoint) -> None:
    with endpoint.lock:
        if endpoint.status == "Updating":
            endpoint.turn("InService")


def _describe(endpoint: Endpoint) -> Document:
    with endpoint.lock:
        document = {
            **_summary(endpoint),
            "EndpointConfigName": endpoint.config.name,
            "FailureReason": endpoint.failure_reason,
            "LastDeploymentConfig": endpoint.deployment_config,
            "MetricsConfig": endpoint.config.document.get("MetricsConfig"),
        }
        if endpoint.fleet is not None:
            document["ProductionVariants"] = [variant.summary() for variant in endpoint.fleet.variants]
            if endpoint.pending is not None:
                document["PendingDeploymentSummary"] = _pending_summary(endpoint.pending)
        return document


def _pending_summary(fleet: Fleet) -> Document:
    return {
        "EndpointConfigName": fleet.config.name,
        "ProductionVariants": [variant.summary() for variant in fleet.variants],
        "StartTime": fleet.created,
    }


def _summary(endpoint: Endpoint) -> Document:
    return {
        "EndpointName": endpoint.name,
        "EndpointArn": endpoint.arn,
        "EndpointStatus": endpoint.status,
        "CreationTime": endpoint.creation_time,
        "LastModifiedTime": endpoint.last_modified_time,
    }


def _in_background(name: str, work: Callable[[Endpoint], None], endpoint: Endpoint) -> None:
    threading.Thread(target=work, args=(endpoint,), name=name, daemon=True).start()

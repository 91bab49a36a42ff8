"""A deployed endpoint configuration: its variants' serving processes, watched and restarted until they are stopped."""

from __future__ import annotations

import contextlib
import random
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from local_aws.account import Aws
from local_aws.aws_errors import AwsError, validation_error
from local_aws.log_events import LogStream
from local_aws.metric_feed import MetricDatum
from local_aws.safe_paths import inside
from local_aws.sagemaker.core.failures import of_system
from local_aws.sagemaker.core.model_artifacts import ModelArtifactError
from local_aws.sagemaker.core.resource_table import now
from local_aws.sagemaker.core.serving import (
    STARTUP_TIMEOUT_SECONDS,
    STOP_GRACE_SECONDS,
    NotHealthyError,
    ServingContainer,
    ServingModel,
)
from local_aws.sagemaker.core.utilisation import Utilisation
from local_aws.sagemaker.hosting.capture import Capture, CaptureFeed
from local_aws.sagemaker.hosting.model import EndpointConfig, Model
from local_aws.sagemaker.hosting.rollout import Stage

WATCH_INTERVAL_SECONDS = 0.5
LONGEST_RESTART_WAIT_SECONDS = 30.0
DRAIN_SECONDS = 60.0
LOG_GROUP = "/aws/sagemaker/Endpoints"
METRICS_NAMESPACE = "AWS/SageMaker"


class DeploymentError(Exception):
    """A fleet that did not come up; the message is the endpoint's FailureReason."""


class Variant:
    """One production variant; `instances` is what was asked for, locally one process answers for all of them.

    `environment` is added to that of the model's containers.
    """

    def __init__(
        self,
        aws: Aws,
        endpoint: str,
        document: Mapping[str, Any],
        model: Model,
        *,
        root: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.name: str = document["VariantName"]
        self.weight: float = document.get("InitialVariantWeight", 1.0)
        self.serverless: dict[str, Any] | None = document.get("ServerlessConfig")
        self.instances: int = document.get("InitialInstanceCount", 0)
        self.timeout: float = document.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_TIMEOUT_SECONDS)
        self.created = now()
        self.log = LogStream(aws.logs, f"{LOG_GROUP}/{endpoint}", f"{self.name}/i-{uuid.uuid4().hex[:17]}")
        self.dimensions = {"EndpointName": endpoint, "VariantName": self.name}
        self.config_dimensions: dict[str, str] | None = None
        self.capture: Capture | None = None
        self._metrics = aws.metrics
        self._places = threading.Lock()
        self._taken = 0
        self._root = root
        self._images = [container["Image"] for container in model.containers]
        self.model = ServingModel(
            [
                ServingContainer(
                    aws,
                    container,
                    root=inside(root, self.name, str(place)),
                    on_line=self.log.write,
                    environment=environment,
                    networked=model.is_networked,
                )
                for place, container in enumerate(model.containers)
            ]
        )
        self.usage = Utilisation(aws.metrics, LOG_GROUP, self.dimensions, inside(root, self.name), self.model.pids)

    def start(self) -> None:
        """Start and wait for health; raises DeploymentError in AWS's words."""
        try:
            self.model.start(self.timeout)
            self.usage.start()
        except ModelArtifactError as error:
            raise DeploymentError(str(error)) from error
        except OSError as error:
            raise DeploymentError(of_system(error, "model download", self._root)) from error
        except NotHealthyError as error:
            raise DeploymentError(
                f"The primary container for production variant {self.name} did not pass the ping health check. "
                f"Please check CloudWatch logs for this endpoint. {error}"
            ) from error

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request; raises ThrottlingException if a serverless variant answers MaxConcurrency already.

        AWS's error has no message.
        """
        with self._places:
            if self.serverless is not None and self._taken >= self.serverless["MaxConcurrency"]:
                limit = self.serverless["MaxConcurrency"]
                raise AwsError(
                    "ThrottlingException",
                    f"Rate exceeded: variant {self.name} answers at most {limit} requests at once (MaxConcurrency).",
                )
            self._taken += 1
        try:
            yield
        finally:
            with self._places:
                self._taken -= 1

    def send(self, values: Mapping[str, float], unit: str = "None") -> None:
        """Send metrics of an invocation, by name."""
        for dimensions in filter(None, (self.dimensions, self.config_dimensions)):
            self._metrics.put(
                *(MetricDatum(METRICS_NAMESPACE, name, value, dimensions, unit) for name, value in values.items())
            )

    def check_capacity(self, change: Mapping[str, Any]) -> None:
        """Refuse instances for a serverless variant, and a serverless capacity for one that has instances."""
        foreign = "ServerlessUpdateConfig" if self.serverless is None else "DesiredInstanceCount"
        if foreign in change:
            kind = "has instances" if self.serverless is None else "is serverless"
            raise validation_error(f"{foreign} can't be given for variant {self.name}, which {kind}.")

    def change_capacity(self, change: Mapping[str, Any]) -> None:
        """Take the weight and the capacity of UpdateEndpointWeightsAndCapacities: traffic follows at once."""
        self.weight = change.get("DesiredWeight", self.weight)
        self.instances = change.get("DesiredInstanceCount", self.instances)
        if self.serverless is not None:
            self.serverless = {**self.serverless, **change.get("ServerlessUpdateConfig", {})}

    def summary(self, stage: Stage | None = None, replaced: Stage | None = None) -> dict[str, Any]:
        """What DescribeEndpoint shows of the variant, in a `stage` of its deployment, or `replaced` by another one."""
        count = self.instances if stage is None else stage.active(self.instances)
        return {
            "VariantName": self.name,
            "DeployedImages": [
                {"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": self.created}
                for image in self._images
            ],
            "CurrentWeight": self.weight,
            "DesiredWeight": self.weight,
            "CurrentInstanceCount": count - (replaced.active(self.instances) if replaced is not None else 0),
            "DesiredInstanceCount": self.instances,
            "CurrentServerlessConfig": self.serverless,
            "DesiredServerlessConfig": self.serverless,
            "VariantStatus": [stage.describe(self.instances)] if stage is not None else None,
        }


class Fleet:
    """All variants of one deployment of an endpoint configuration.

    `models` are those it names, by name; `captures` writes what it captures.
    """

    def __init__(
        self, aws: Aws, endpoint: str, config: EndpointConfig, models: Mapping[str, Model], captures: CaptureFeed
    ) -> None:
        self.config = config
        self.created = now()
        self._root = aws.directory("endpoint", endpoint) / uuid.uuid4().hex[:12]
        self._stopped = threading.Event()
        self._in_flight = 0
        self._idle = threading.Condition()
        self.variants = [
            Variant(
                aws,
                endpoint,
                document,
                models[document["ModelName"]],
                root=self._root,
                environment=config.environment,
            )
            for document in config.variants
        ]
        for variant in self.variants:
            variant.capture = Capture.of(config.data_capture, captures, endpoint, variant.name)

    def name_config(self) -> None:
        """Count invocations under the name of the configuration too, as AWS does from an update on."""
        for variant in self.variants:
            variant.config_dimensions = {**variant.dimensions, "EndpointConfigName": self.config.name}

    def summary(self, stage: Stage) -> dict[str, Any]:
        """What DescribeEndpoint reports about a deployment in this stage."""
        return {
            "EndpointConfigName": self.config.name,
            "ProductionVariants": [variant.summary(stage) for variant in self.variants],
            "StartTime": self.created,
        }

    def retain(self, weights: Mapping[str, float], counts: Mapping[str, int]) -> None:
        """Take over weights and instance counts, by the names of the variants."""
        for variant in self.variants:
            variant.weight = weights.get(variant.name, variant.weight)
            variant.instances = counts.get(variant.name, variant.instances)

    def start(self) -> None:
        """Start every variant and wait until all are healthy; raises DeploymentError, with all stopped again."""
        with ThreadPoolExecutor(max_workers=len(self.variants)) as pool:
            starts = [pool.submit(variant.start) for variant in self.variants]
            failures = [error for start in starts if (error := start.exception()) is not None]
        if failures:
            self.stop()
            raise failures[0]
        for variant in self.variants:
            threading.Thread(target=self._watch, args=(variant,), name=f"watch-{variant.name}", daemon=True).start()

    def variant(self, name: str) -> Variant | None:
        """The variant of that name."""
        return next((variant for variant in self.variants if variant.name == name), None)

    def pick(self) -> Variant:
        """A variant by weight; the first when all weights are zero."""
        weights = [variant.weight for variant in self.variants]
        return random.choices(self.variants, weights)[0] if any(weights) else self.variants[0]  # noqa: S311

    def enter(self) -> None:
        """Note that a request is under way; it must be followed by `leave`."""
        with self._idle:
            self._in_flight += 1

    def leave(self) -> None:
        """Note that a request is over."""
        with self._idle:
            self._in_flight -= 1
            self._idle.notify_all()

    def drain(self) -> None:
        """Wait until no request is under way, a minute at most."""
        with self._idle:
            self._idle.wait_for(lambda: not self._in_flight, DRAIN_SECONDS)

    def stop(self) -> None:
        """End every process, also of a start under way, with its directory, and send the last lines of the logs."""
        self.end_processes(STOP_GRACE_SECONDS)
        for variant in self.variants:
            variant.log.close()

    def end_processes(self, grace: float) -> None:
        """End every process, also of a start under way, and remove the directories; what it said last may be lost."""
        self._stopped.set()
        for variant in self.variants:
            variant.usage.close()
        with ThreadPoolExecutor(max_workers=len(self.variants)) as pool:
            list(pool.map(lambda variant: variant.model.stop(grace), self.variants))
        shutil.rmtree(self._root, ignore_errors=True)

    def _watch(self, variant: Variant) -> None:
        """Start a variant's processes again whenever they end, waiting longer after each failure."""
        wait = WATCH_INTERVAL_SECONDS
        while not self._stopped.wait(wait):
            wait = WATCH_INTERVAL_SECONDS
            if variant.model.is_running:
                continue
            variant.log.write("The container ended; it is started again.")
            began = time.monotonic()
            try:
                variant.model.restart(variant.timeout)
            except NotHealthyError as error:
                variant.log.write(f"The container could not be started again: {error}")
                wait = min(LONGEST_RESTART_WAIT_SECONDS, 2 * (time.monotonic() - began) + WATCH_INTERVAL_SECONDS)

"""Asynchronous invocation: the payload and the answer lie in S3, and requests wait for their turn.

Sources: docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html and the pages below it (metrics, notifications),
.../APIReference/API_runtime_InvokeEndpointAsync.html.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.account import Aws
from local_aws.aws_errors import AwsError, validation_error
from local_aws.metric_feed import MetricDatum
from local_aws.responses import without_none
from local_aws.sagemaker.core.resource_table import now
from local_aws.sagemaker.core.serving import Answer, ContainerUnreachableError
from local_aws.sagemaker.hosting.run import METRICS_NAMESPACE, Variant
from local_aws.storage import TRANSFER, S3Location

LARGEST_PAYLOAD = 1 << 30
REQUESTS_AT_ONCE = 4
"""How many requests an instance gets at once where ClientConfig does not say: AWS chooses then."""
LONGEST_IN_BACKLOG_SECONDS = 21_600
LONGEST_INVOCATION_SECONDS = 900
SEE_LOGS = "See the SageMaker Endpoint logs in your account for more information."

log = logging.getLogger(__name__)

Route = Callable[[str], contextlib.AbstractContextManager[Variant]]
"""Gives the variant that answers the next request of an endpoint, and keeps it from being stopped meanwhile."""


class ReplacedError(Exception):
    """A request whose container was stopped because another fleet took over."""


class FailedError(Exception):
    """A request without an answer; the message is its failureReason, `answer` what the container said instead."""

    def __init__(self, reason: str, metric: str | None = None, answer: Answer | None = None) -> None:
        super().__init__(reason)
        self.metric = metric
        self.answer = answer


class DeletedError(FailedError):
    """A request whose endpoint was deleted."""

    def __init__(self) -> None:
        super().__init__("ClientError: The endpoint was deleted before it had answered the request.")


@dataclass(frozen=True)
class AsyncInput:
    """What InvokeEndpointAsync was called with; `headers` are those that the container sees."""

    payload: S3Location | bytes
    headers: Mapping[str, str]
    inference_id: str | None = None
    extension: str | None = None
    file_name: str | None = None
    longest_wait: float = LONGEST_IN_BACKLOG_SECONDS
    timeout: float = LONGEST_INVOCATION_SECONDS


@dataclass(frozen=True)
class AsyncRequest:
    """An accepted request: its id, and where its answer or its failure will lie."""

    endpoint: str
    asked: AsyncInput
    inference_id: str
    output: S3Location
    failure: S3Location | None
    success_topic: str | None
    error_topic: str | None
    received: datetime = field(default_factory=now)
    arrived: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return time.monotonic() - self.arrived


@dataclass(frozen=True)
class AsyncConfig:
    """An AsyncInferenceConfig that `rules.check_endpoint_config` has passed."""

    output: S3Location
    failure: S3Location | None
    success_topic: str | None
    error_topic: str | None
    at_once: int

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> AsyncConfig | None:
        """The configuration, None for an endpoint that answers in real time."""
        if document is None:
            return None
        output, topics = document["OutputConfig"], document["OutputConfig"].get("NotificationConfig", {})
        failure = output.get("S3FailurePath")
        return cls(
            output=S3Location.parse(output["S3OutputPath"]),
            failure=S3Location.parse(failure) if failure else None,
            success_topic=topics.get("SuccessTopic"),
            error_topic=topics.get("ErrorTopic"),
            at_once=document.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", REQUESTS_AT_ONCE),
        )

    @property
    def topics(self) -> list[str]:
        """Every topic once."""
        return sorted({topic for topic in (self.success_topic, self.error_topic) if topic is not None})

    def accept(self, endpoint: str, asked: AsyncInput) -> AsyncRequest:
        """The request as it is put into the backlog."""
        name = str(uuid.uuid4())
        folder = (asked.extension or "").strip("/")
        return AsyncRequest(
            endpoint,
            asked,
            asked.inference_id or str(uuid.uuid4()),
            self.output.under(*filter(None, [folder]), asked.file_name or f"{name}.out"),
            self.failure.under(f"{name}-error.out") if self.failure is not None else None,
            self.success_topic,
            self.error_topic,
        )


class Backlog:
    """The requests that an endpoint has accepted and not answered; as many as `limit` allows are answered at once.

    `answer` raises nothing. `changed` is called with their number and the oldest one's age when the number changes.
    """

    def __init__(
        self,
        answer: Callable[[AsyncRequest], None],
        limit: Callable[[], int],
        changed: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        self._answer = answer
        self._limit = limit
        self._changed = changed
        self._idle = threading.Condition()
        self._waiting: collections.deque[AsyncRequest] = collections.deque()
        self._running: list[AsyncRequest] = []
        self._workers = 0
        self._is_closed = False

    def put(self, request: AsyncRequest) -> bool:
        """Take a request in; False if nothing is taken in any more."""
        with self._idle:
            if self._is_closed:
                return False
            self._waiting.append(request)
            self._report()
            if self._workers < self._limit():
                self._workers += 1
                threading.Thread(target=self._work, name=f"async-{request.endpoint}", daemon=True).start()
            return True

    def close(self) -> list[AsyncRequest]:
        """Take nothing in any more, and give out what waits."""
        with self._idle:
            self._is_closed = True
            left = list(self._waiting)
            self._waiting.clear()
            return left

    def drain(self, seconds: float) -> None:
        """Wait until no request is being answered, so many seconds at most."""
        with self._idle:
            self._idle.wait_for(lambda: not self._running, seconds)

    def _work(self) -> None:
        while (request := self._next()) is not None:
            self._answer(request)
            with self._idle:
                self._running.remove(request)
                self._report()
                self._idle.notify_all()

    def _next(self) -> AsyncRequest | None:
        """The oldest request; None, and one worker less, if there is none or there are too many workers."""
        with self._idle:
            if not self._waiting or self._workers > self._limit():
                self._workers -= 1
                return None
            self._running.append(self._waiting.popleft())
            return self._running[-1]

    def _report(self) -> None:
        requests = [*self._running, *self._waiting]
        self._changed(len(requests), max((request.age for request in requests), default=0.0))


class AsyncInvocations:
    """Answers the asynchronous requests of one account and region, and reports to S3, SNS and CloudWatch."""

    def __init__(self, aws: Aws, route: Route) -> None:
        self._aws = aws
        self._route = route

    def announce(self, config: AsyncConfig) -> None:
        """Send the notification by which AWS tries the topics of a new endpoint; raises ValidationException."""
        for topic in config.topics:
            try:
                self._publish(topic, {"eventName": "TestNotification"})
            except (ClientError, BotoCoreError) as error:
                raise validation_error(
                    f"The topic {topic} of AsyncInferenceConfig can't be published to: {error}"
                ) from error

    def report_backlog(self, endpoint: str, size: int, oldest: float, instances: int) -> None:
        """Send the metrics of a backlog."""
        counts = {
            "ApproximateBacklogSize": float(size),
            "ApproximateBacklogSizePerInstance": size / max(1, instances),
            "HasBacklogWithoutCapacity": float(size > 0 and instances == 0),
        }
        dimensions = {"EndpointName": endpoint}
        self._aws.metrics.put(
            *(MetricDatum(METRICS_NAMESPACE, name, value, dimensions, "Count") for name, value in counts.items()),
            MetricDatum(METRICS_NAMESPACE, "ApproximateAgeOfOldestRequest", oldest, dimensions, "Seconds"),
        )

    def answer(self, request: AsyncRequest) -> None:
        """Answer a request: afterwards its answer lies at its output, or the reason for having none at its failure.

        A request whose container is stopped because an update replaced its fleet is sent to the new fleet.
        """
        try:
            if not self._is_answered(request):
                self.fail(request, DeletedError())
        except Exception as error:
            log.exception("the asynchronous request %s of %s failed", request.inference_id, request.endpoint)
            reason = f"InternalFailure: The local AWS failed: {type(error).__name__}: {error}"
            self.fail(request, FailedError(reason))

    def _is_answered(self, request: AsyncRequest) -> bool:
        """Let the variants that serve answer, one after another as they are replaced; False if none is left."""
        waited, asked_before = request.age, None
        while True:
            try:
                with self._route(request.endpoint) as variant:
                    if variant is asked_before:
                        return False
                    asked_before = variant
                    with contextlib.suppress(ReplacedError):
                        self._answer_by(variant, request, waited)
                        return True
            except AwsError:
                return False

    def fail(self, request: AsyncRequest, error: FailedError) -> bool:
        """Write a failure, and publish it; False if it could not be published."""
        answer = error.answer or Answer(0, str(error).encode(), "text/plain", HTTPMessage())
        if request.failure is not None:
            with contextlib.suppress(FailedError):
                self._put(request.failure, answer)
        return self._notify(request.error_topic, request, {"invocationStatus": "Failed", "failureReason": str(error)})

    def _answer_by(self, variant: Variant, request: AsyncRequest, waited: float) -> None:
        """Let one variant answer; raises ReplacedError if its fleet was stopped before."""
        try:
            answer = self._ask(variant, request)
            began = time.perf_counter()
            self._put(request.output, answer)
            variant.send({"ResponseUploadLatency": 1e6 * (time.perf_counter() - began)}, "Microseconds")
        except FailedError as error:
            is_told = self.fail(request, error)
            variant.send({"InvocationFailures": 1.0, **({error.metric: 1.0} if error.metric else {})}, "Count")
        else:
            told = {"contentType": answer.content_type, "outputLocation": request.output.uri}
            event = {"invocationStatus": "Completed", "responseParameters": told}
            is_told = self._notify(request.success_topic, request, event)
        variant.send({"InvocationsProcessed": 1.0, **({} if is_told else {"NotificationFailures": 1.0})}, "Count")
        variant.send({"TimeInBacklog": 1e3 * waited, "TotalProcessingTime": 1e3 * request.age}, "Milliseconds")

    def _ask(self, variant: Variant, request: AsyncRequest) -> Answer:
        """What the container says, if it is an answer; raises FailedError, ReplacedError."""
        asked = request.asked
        if request.age > asked.longest_wait:
            raise FailedError(
                f"ClientError: The request expired: it waited longer than RequestTTLSeconds ({asked.longest_wait:g}).",
                "ExpiredRequests",
            )
        with self._payload(variant, request) as payload:
            began = time.perf_counter()
            try:
                answer = variant.model.invoke(payload, asked.headers, asked.timeout)
            except ContainerUnreachableError as error:
                if variant.model.is_stopped:
                    raise ReplacedError from error
                variant.send({"Invocation4XXErrors": 0.0, "Invocation5XXErrors": 1.0})
                raise FailedError(
                    f"ClientError: The model gave no answer within {asked.timeout:g} seconds, or its container ended "
                    f"({error}). {SEE_LOGS}"
                ) from error
            variant.send({"ModelLatency": 1e6 * (time.perf_counter() - began)}, "Microseconds")
        is_client, is_server = 400 <= answer.status < 500, answer.status >= 500
        variant.send({"Invocation4XXErrors": float(is_client), "Invocation5XXErrors": float(is_server)})
        if not 200 <= answer.status < 300:
            side = "client" if is_client else "server"
            reason = f"ClientError: Received {side} error ({answer.status}) from model. {SEE_LOGS}"
            raise FailedError(reason, answer=answer)
        return answer

    @contextlib.contextmanager
    def _payload(self, variant: Variant, request: AsyncRequest) -> Iterator[bytes | BinaryIO]:
        """The payload, from S3 as a file; raises FailedError."""
        source = request.asked.payload
        if isinstance(source, bytes):
            yield source
            return
        folder = self._aws.directory("async", request.endpoint) / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            began = time.perf_counter()
            self._download(source, folder / "payload")
            variant.send({"RequestDownloadLatency": 1e6 * (time.perf_counter() - began)}, "Microseconds")
            with (folder / "payload").open("rb") as payload:
                yield payload
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _download(self, source: S3Location, target: Path) -> None:
        metric = "RequestDownloadFailures"
        try:
            size = self._aws.s3.head_object(Bucket=source.bucket, Key=source.key)["ContentLength"]
            if size > LARGEST_PAYLOAD:
                reason = (
                    f"ClientError: The payload {source.uri} has {size} bytes, at most {LARGEST_PAYLOAD} are allowed."
                )
                raise FailedError(reason, metric)
            self._aws.s3.download_file(source.bucket, source.key, str(target), Config=TRANSFER)
        except (ClientError, BotoCoreError, OSError) as error:
            raise FailedError(f"ClientError: The payload {source.uri} can't be downloaded: {error}", metric) from error

    def _put(self, target: S3Location, answer: Answer) -> None:
        """Write an answer or a failure; raises FailedError."""
        content_type = answer.content_type or "application/octet-stream"
        try:
            self._aws.s3.put_object(Bucket=target.bucket, Key=target.key, Body=answer.body, ContentType=content_type)
        except (ClientError, BotoCoreError) as error:
            log.warning("an asynchronous answer can't be written to %s: %s", target.uri, error)
            raise FailedError(
                f"ClientError: The answer can't be written to {target.uri}: {error}", "ResponseUploadFailures"
            ) from error

    def _notify(self, topic: str | None, request: AsyncRequest, event: Mapping[str, Any]) -> bool:
        """Publish what became of a request, if there is a topic for it; False if that failed."""
        if topic is None:
            return True
        parameters = {
            "accept": request.asked.headers.get("Accept"),
            "contentType": request.asked.headers.get("Content-Type"),
            "endpointName": request.endpoint,
            "inputLocation": request.asked.payload.uri if isinstance(request.asked.payload, S3Location) else None,
        }
        document = {
            "awsRegion": self._aws.region,
            "eventTime": _moment(now()),
            "receivedTime": _moment(request.received),
            "requestParameters": without_none(parameters),
            "inferenceId": request.inference_id,
            "eventName": "InferenceResult",
            **event,
        }
        try:
            self._publish(topic, document)
        except (ClientError, BotoCoreError) as error:
            log.warning("an asynchronous answer can't be published to %s: %s", topic, error)
            return False
        return True

    def _publish(self, topic: str, event: Mapping[str, Any]) -> None:
        document = {**event, "eventVersion": "1.0", "eventSource": "aws:sagemaker"}
        self._aws.sns.publish(TopicArn=topic, Message=json.dumps(document))


def _moment(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

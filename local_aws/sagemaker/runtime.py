"""SageMaker Runtime: requests to an endpoint, answered by the serving process of the chosen variant."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from local_aws.account import Aws
from local_aws.aws_errors import AwsError, not_implemented
from local_aws.constraints import checked, service_model
from local_aws.sagemaker.control_plane import SageMaker, SageMakers
from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.serving import Answer, ContainerUnreachableError
from local_aws.sagemaker.hosting.api import Endpoints
from local_aws.sagemaker.hosting.asynchronous import (
    LONGEST_IN_BACKLOG_SECONDS,
    LONGEST_INVOCATION_SECONDS,
    AsyncInput,
)
from local_aws.sagemaker.hosting.capture import Body
from local_aws.sagemaker.hosting.run import Variant
from local_aws.service import AwsRequest, Service
from local_aws.storage import DataError, S3Location

MAX_BODY_BYTES = 6_291_456
MAX_INLINE_BYTES = 128_000
ANY_BYTES = "application/octet-stream"
NUMBER = re.compile(r"[0-9]{1,9}")
PATH = re.compile(r"/endpoints/(?P<name>[^/]+)/(?P<verb>[^/]+)/?")
TARGET_VARIANT = "X-Amzn-SageMaker-Target-Variant"
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"
NOT_LOCAL = (
    "X-Amzn-SageMaker-Target-Model",
    "X-Amzn-SageMaker-Target-Container-Hostname",
    "X-Amzn-SageMaker-Inference-Component",
    "X-Amzn-SageMaker-Session-Id",
)
LARGEST_MESSAGE = 1024
NO_ANSWER = (
    "Your invocation timed out while waiting for a response from container primary, or the container ended. "
    "Review its log in Amazon CloudWatch, resolve the issue, and try again."
)


class SageMakerRuntime(Service):
    """InvokeEndpoint and InvokeEndpointAsync, in every account and region."""

    def __init__(self, sagemakers: SageMakers) -> None:
        self._sagemakers = sagemakers

    def owns(self, request: AwsRequest) -> bool:
        """Whether an endpoint is asked."""
        return request.path.startswith("/endpoints/") and request.signed.service in ("sagemaker", "")

    def answer(self, request: AwsRequest) -> Response:
        """What the container of the chosen variant says, or where that will lie.

        Raises ValidationError for an unknown endpoint or variant, a body that is too large, and what the local AWS
        lacks. A container's error becomes ModelError (424) with its status and message.
        """
        sagemaker, http = self._sagemakers.of(request), Request(request.environ)
        asked = PATH.fullmatch(http.path)
        if asked is None or asked["verb"] not in INVOCATIONS or http.method != "POST":
            raise not_implemented(request.call.service, request.call.action)
        return INVOCATIONS[asked["verb"]](sagemaker, unquote(asked["name"]), http)


def _invoke(sagemaker: SageMaker, name: str, request: Request) -> Response:
    for header in NOT_LOCAL:
        if header in request.headers:
            raise _validation_error(f"{header} is not available in the local AWS.")
    _check(request, name, "InvokeEndpoint")
    began = time.perf_counter()
    body = _body(request, MAX_BODY_BYTES)
    content_type = _on_one_line(request.headers.get("Content-Type", ANY_BYTES))
    with sagemaker.area(Endpoints).routed(name, request.headers.get(TARGET_VARIANT)) as variant, variant.place():
        asked_at = time.perf_counter()
        try:
            answer = variant.model.invoke(body, _forwarded(request, content_type, request.headers.get("Accept")))
        except ContainerUnreachableError as error:
            _count(variant, 500, asked_at, began)
            return _model_error(sagemaker.aws, name, variant, 0, f"{NO_ANSWER} ({error})")
    _count(variant, answer.status, asked_at, began)
    if not 200 <= answer.status < 300:
        return _model_error(sagemaker.aws, name, variant, answer.status, answer.body.decode(errors="replace"))
    if variant.capture is not None:
        asked = Body(content_type, body)
        variant.capture.take(asked, Body(answer.content_type, answer.body), request.headers.get(INFERENCE_ID))
    return _response(answer, variant)


def _count(variant: Variant, status: int, asked_at: float, began: float) -> None:
    """Send the metrics of one invocation, which reached this server at `began` and its container at `asked_at`."""
    answered = time.perf_counter()
    counts = {
        "Invocations": 1.0,
        "Invocation4XXErrors": float(400 <= status < 500),
        "Invocation5XXErrors": float(status >= 500),
        "InvocationModelErrors": float(not 200 <= status < 300),
    }
    if variant.instances:
        counts["InvocationsPerInstance"] = 1 / variant.instances
    variant.send(counts)
    latencies = {"ModelLatency": 1e6 * (answered - asked_at), "OverheadLatency": 1e6 * (asked_at - began)}
    variant.send(latencies, "Microseconds")


def _invoke_async(sagemaker: SageMaker, name: str, request: Request) -> Response:
    """Accept a request whose payload lies in S3, or is small."""
    given = _check(request, name, "InvokeEndpointAsync")
    accepted = sagemaker.area(Endpoints).accept(
        name,
        AsyncInput(
            payload=_payload(request, given.get("InputLocation")),
            headers=_forwarded(request, given.get("ContentType", ANY_BYTES), given.get("Accept")),
            inference_id=given.get("InferenceId"),
            extension=given.get("S3OutputPathExtension"),
            file_name=given.get("Filename"),
            longest_wait=given.get("RequestTTLSeconds", LONGEST_IN_BACKLOG_SECONDS),
            timeout=given.get("InvocationTimeoutSeconds", LONGEST_INVOCATION_SECONDS),
        ),
    )
    places = {"OutputLocation": accepted.output, "FailureLocation": accepted.failure}
    return Response(
        json.dumps({"InferenceId": accepted.inference_id}),
        status=202,
        content_type="application/json",
        headers={f"X-Amzn-SageMaker-{name}": place.uri for name, place in places.items() if place is not None},
    )


def _payload(request: Request, location: str | None) -> S3Location | bytes:
    """Where the payload lies, or the payload itself; raises ValidationError unless there is exactly one."""
    body = _body(request, MAX_INLINE_BYTES)
    if (location is None) == (not body):
        raise _validation_error("Provide exactly one of InputLocation and Body.")
    if location is None:
        return body
    try:
        return S3Location.parse(location)
    except DataError as error:
        raise _validation_error(f"InputLocation {location} is not available in the local AWS: {error}.") from error


def _check(request: Request, name: str, action: str) -> Document:
    """The members of an action that are headers; raises ValidationError for those, or a name, that break its model.

    The body, which is bytes, is checked apart.
    """
    shape = service_model("sagemaker-runtime").operation_model(action).input_shape
    given: Document = {"EndpointName": name}
    for member, part in (shape.members if shape is not None else {}).items():
        text = request.headers.get(part.serialization.get("name", ""))
        if part.serialization.get("location") == "header" and text is not None:
            given[member] = int(text) if part.type_name == "integer" and NUMBER.fullmatch(text) else text
    body = {"Body": ""} if action == "InvokeEndpoint" else {}
    try:
        return checked("sagemaker-runtime", action, {**given, **body})
    except AwsError as error:
        raise _validation_error(error.message) from error


def _body(request: Request, most: int) -> bytes:
    if (request.content_length or 0) > most:
        raise _too_large(request.content_length or 0, most)
    body = request.get_data()
    if len(body) > most:
        raise _too_large(len(body), most)
    return body


def _too_large(size: int, most: int) -> AwsError:
    return _validation_error(
        "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length less than "
        f"or equal to {most}; it has {size} bytes."
    )


def _forwarded(request: Request, content_type: str, accept: str | None) -> dict[str, str]:
    """The headers a container gets to see."""
    headers = {"Content-Type": _on_one_line(content_type)}
    if accept is not None:
        headers["Accept"] = _on_one_line(accept)
    for name in (CUSTOM_ATTRIBUTES, INFERENCE_ID):
        if name in request.headers:
            headers[name] = _on_one_line(request.headers[name])
    return headers


def _response(answer: Answer, variant: Variant) -> Response:
    headers = {"x-Amzn-Invoked-Production-Variant": variant.name}
    if CUSTOM_ATTRIBUTES in answer.headers:
        headers[CUSTOM_ATTRIBUTES] = _on_one_line(answer.headers[CUSTOM_ATTRIBUTES])
    return Response(answer.body, content_type=_on_one_line(answer.content_type) or None, headers=headers)


def _on_one_line(value: str) -> str:
    """The value of a header that may have been sent folded, which cannot be sent on so."""
    return " ".join(value.split())


def _model_error(aws: Aws, endpoint: str, variant: Variant, status: int, message: str) -> Response:
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    side = "client" if 400 <= status < 500 else "server"
    shown = message[:LARGEST_MESSAGE]
    document = {
        "Message": f'Received {side} error ({status}) from primary with message "{shown}". See '
        f"https://{aws.region}.console.aws.amazon.com/cloudwatch/home?region={aws.region}#logEventViewer:group={group} "
        f"in account {aws.account} for more information.",
        "OriginalStatusCode": status,
        "OriginalMessage": shown,
        "LogStreamArn": f"arn:{aws.partition}:logs:{aws.region}:{aws.account}:log-group:{group}",
    }
    headers = {"x-amzn-ErrorType": "ModelError", "x-Amzn-Invoked-Production-Variant": variant.name}
    return Response(json.dumps(document), status=424, content_type="application/json", headers=headers)


def _validation_error(message: str) -> AwsError:
    return AwsError("ValidationError", message)


INVOCATIONS: Mapping[str, Callable[[SageMaker, str, Request], Response]] = {
    "invocations": _invoke,
    "async-invocations": _invoke_async,
}

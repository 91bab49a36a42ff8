"""SageMaker Runtime: requests to an endpoint, answered by the serving process of the chosen variant."""

from __future__ import annotations

import json
import re
import time
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from local_aws.account import Aws
from local_aws.aws_errors import AwsError, not_implemented
from local_aws.constraints import checked, service_model
from local_aws.metric_feed import MetricDatum
from local_aws.sagemaker.control_plane import SageMaker, SageMakers
from local_aws.sagemaker.core.serving import Answer, ContainerUnreachableError
from local_aws.sagemaker.hosting.api import Endpoints
from local_aws.sagemaker.hosting.capture import Body
from local_aws.sagemaker.hosting.run import Variant
from local_aws.service import AwsRequest, Service

NAMESPACE = "AWS/SageMaker"
MAX_BODY_BYTES = 6_291_456
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
    """InvokeEndpoint, in every account and region."""

    def __init__(self, sagemakers: SageMakers) -> None:
        self._sagemakers = sagemakers

    def owns(self, request: AwsRequest) -> bool:
        """Whether an endpoint is asked."""
        return request.path.startswith("/endpoints/") and request.signed.service in ("sagemaker", "")

    def answer(self, request: AwsRequest) -> Response:
        """What the container of the chosen variant says.

        Raises ValidationError for an unknown endpoint or variant, a body that is too large, and what the local AWS
        lacks. A container's error becomes ModelError (424) with its status and message.
        """
        sagemaker, http = self._sagemakers.of(request), Request(request.environ)
        asked = PATH.fullmatch(http.path)
        if asked is None or asked["verb"] != "invocations" or http.method != "POST":
            raise not_implemented(request.call.service, request.call.action)
        return _invoke(sagemaker, unquote(asked["name"]), http)


def _invoke(sagemaker: SageMaker, name: str, request: Request) -> Response:
    for header in NOT_LOCAL:
        if header in request.headers:
            raise _validation_error(f"{header} is not available in the local AWS.")
    _check(request, name)
    began = time.perf_counter()
    body = _body(request)
    with sagemaker.area(Endpoints).routed(name, request.headers.get(TARGET_VARIANT)) as variant, variant.place():
        asked_at = time.perf_counter()
        try:
            answer = variant.model.invoke(body, _forwarded(request))
        except ContainerUnreachableError as error:
            _count(sagemaker.aws, variant, 500, asked_at, began)
            return _model_error(sagemaker.aws, name, variant, 0, f"{NO_ANSWER} ({error})")
    _count(sagemaker.aws, variant, answer.status, asked_at, began)
    if not 200 <= answer.status < 300:
        return _model_error(sagemaker.aws, name, variant, answer.status, answer.body.decode(errors="replace"))
    if variant.capture is not None:
        asked = Body(_content_type(request), body)
        variant.capture.take(asked, Body(answer.content_type, answer.body), request.headers.get(INFERENCE_ID))
    return _response(answer, variant)


def _count(aws: Aws, variant: Variant, status: int, asked_at: float, began: float) -> None:
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
    latencies = {"ModelLatency": 1e6 * (answered - asked_at), "OverheadLatency": 1e6 * (asked_at - began)}
    for dimensions in filter(None, (variant.dimensions, variant.config_dimensions)):
        aws.metrics.put(
            *(MetricDatum(NAMESPACE, name, value, dimensions) for name, value in counts.items()),
            *(MetricDatum(NAMESPACE, name, value, dimensions, "Microseconds") for name, value in latencies.items()),
        )


def _check(request: Request, name: str) -> None:
    """Refuse an endpoint name and headers that break botocore's model; the body, which is bytes, is checked apart."""
    shape = service_model("sagemaker-runtime").operation_model("InvokeEndpoint").input_shape
    headers = {
        member: request.headers[part.serialization["name"]]
        for member, part in (shape.members if shape is not None else {}).items()
        if part.serialization.get("location") == "header" and part.serialization["name"] in request.headers
    }
    try:
        checked("sagemaker-runtime", "InvokeEndpoint", {**headers, "EndpointName": name, "Body": ""})
    except AwsError as error:
        raise _validation_error(error.message) from error


def _body(request: Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large(request.content_length or 0)
    body = request.get_data()
    if len(body) > MAX_BODY_BYTES:
        raise _too_large(len(body))
    return body


def _too_large(size: int) -> AwsError:
    return _validation_error(
        "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length less than "
        f"or equal to {MAX_BODY_BYTES}; it has {size} bytes."
    )


def _forwarded(request: Request) -> dict[str, str]:
    """The headers a container gets to see."""
    headers = {"Content-Type": _content_type(request)}
    for name in ("Accept", CUSTOM_ATTRIBUTES, INFERENCE_ID):
        if name in request.headers:
            headers[name] = _on_one_line(request.headers[name])
    return headers


def _content_type(request: Request) -> str:
    return _on_one_line(request.headers.get("Content-Type", "application/octet-stream"))


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

"""What the serving process answers, apart from HTTP's wire."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from http import HTTPStatus

from .image_decoding import UndecodableImageError
from .predictor import Predictor

IMAGE_TYPES = ("image/jpeg", "image/png", "application/x-image")
JSON_TYPE = "application/json"
JSON_LINES_TYPE = "application/jsonlines"
MEBIBYTE = 1024 * 1024
ENDPOINT_PAYLOAD_MB = 6
PAYLOAD_VARIABLE = "SAGEMAKER_MAX_PAYLOAD_IN_MB"


@dataclass(frozen=True)
class Answer:
    """A status, a body and its type."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = JSON_TYPE


def max_payload_mb() -> int:
    """MiB a request may have: what batch transform sets, otherwise what InvokeEndpoint lets through."""
    declared = os.environ.get(PAYLOAD_VARIABLE, "")
    return int(declared) if declared.isdigit() and int(declared) > 0 else ENDPOINT_PAYLOAD_MB


def refusal(status: HTTPStatus, reason: str) -> Answer:
    """An error with its reason, for the person who sent the request."""
    return Answer(status, json.dumps({"error": reason}).encode())


def media_type(header: str | None) -> str:
    """A Content-Type or Accept without parameters, in lower case."""
    return (header or "").split(";")[0].strip().lower()


def invoke(predictor: Predictor, content_type: str | None, accept: str | None, body: bytes) -> Answer:
    """Classify one image.

    400 for an empty body or an image that cannot be decoded, 415 for a type that is not an image. `accept`
    application/jsonlines wraps the probabilities; anything else gets the bare JSON list.
    """
    declared = media_type(content_type)
    if declared not in IMAGE_TYPES:
        reason = f"Content-Type {content_type!r} cannot be read: send one image as {', '.join(IMAGE_TYPES)}"
        return refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, reason)
    if not body:
        return refusal(HTTPStatus.BAD_REQUEST, "the body is empty: send the bytes of one image")
    try:
        probabilities = predictor.predict(body)
    except UndecodableImageError as broken:
        return refusal(HTTPStatus.BAD_REQUEST, str(broken))
    if media_type(accept) == JSON_LINES_TYPE:
        line = json.dumps({"prediction": probabilities}) + "\n"
        return Answer(HTTPStatus.OK, line.encode(), JSON_LINES_TYPE)
    return Answer(HTTPStatus.OK, json.dumps(probabilities).encode())


def execution_parameters() -> Answer:
    """What batch transform asks for before it sends images."""
    suggestion = {"MaxConcurrentTransforms": 1, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": max_payload_mb()}
    return Answer(HTTPStatus.OK, json.dumps(suggestion).encode())

"""`serve`: GET /ping, POST /invocations and GET /execution-parameters, as SageMaker's container contract says.

One image in, a JSON list of probabilities in class order out; with Accept application/jsonlines
`{"prediction": [...]}`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import numpy as np
import waitress

from .decoding import Pixels, UndecodableImageError, decode, pixels
from .job_folders import JobFolders
from .model_files import TrainedModel, load_model

log = logging.getLogger(__name__)

IMAGE_TYPES = ("image/jpeg", "image/png", "application/x-image")
JSON_TYPE, JSON_LINES_TYPE = "application/json", "application/jsonlines"
ENDPOINT_PAYLOAD_MB = 6
LARGEST_BODY = 100 << 20
"""Where the server stops to read, as batch transform does. Below it a person learns in words what is too large."""
THREADS = 4
"""Requests that are decoded side by side; the network computes one after the other, on all processors."""

Answer = tuple[HTTPStatus, str, str]
"""Status, type, body."""


def serve() -> None:
    """Load the model and answer until SIGTERM. Raises JobError for a model that cannot be loaded."""
    application = Application(load_model(JobFolders.from_environment().model))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host = os.environ.get("SAGEMAKER_BIND_TO_HOST") or "0.0.0.0"  # noqa: S104 - a container is reached from outside
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT") or 8080)
    server = waitress.create_server(
        application, host=host, port=port, threads=THREADS, max_request_body_size=LARGEST_BODY, ident=None
    )
    log.info("Serving %d classes on %s:%d", len(application.model.classes), host, port)
    server.run()


def max_payload_mb() -> int:
    """MiB a request may have: what batch transform sets, otherwise what InvokeEndpoint lets through."""
    return int(os.environ.get("SAGEMAKER_MAX_PAYLOAD_IN_MB") or ENDPOINT_PAYLOAD_MB)


class Application:
    """The WSGI application of a model."""

    def __init__(self, model: TrainedModel) -> None:
        self.model = model
        self._computing = threading.Lock()
        size = model.config.image_size
        self._probabilities(np.zeros((1, size, size, 3), dtype=np.uint8))  # JAX and TensorFlow compile it now

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answer one request."""
        try:
            status, content_type, body = self._answer(environ)
        except Exception:
            log.exception("The model could not answer")
            status, content_type, body = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the model could not answer")
        encoded = body.encode()
        headers = [("Content-Type", content_type), ("Content-Length", str(len(encoded)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [encoded]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
            case "GET", "/ping":
                return HTTPStatus.OK, JSON_TYPE, ""
            case "GET", "/execution-parameters":
                suggested = {"MaxConcurrentTransforms": 1, "BatchStrategy": "SINGLE_RECORD"}
                return HTTPStatus.OK, JSON_TYPE, json.dumps({**suggested, "MaxPayloadInMB": max_payload_mb()})
            case "POST", "/invocations":
                return self._classify(
                    environ["wsgi.input"].read(), environ.get("CONTENT_TYPE", ""), environ.get("HTTP_ACCEPT", "")
                )
        return refusal(HTTPStatus.NOT_FOUND, "there are GET /ping and POST /invocations")

    def _classify(self, body: bytes, content_type: str, accept: str) -> Answer:
        if media_type(content_type) not in IMAGE_TYPES:
            reason = f"Content-Type {content_type!r} cannot be read: send one image as {', '.join(IMAGE_TYPES)}"
            return refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, reason)
        if len(body) > max_payload_mb() << 20:
            reason = f"the body has {len(body)} bytes, at most {max_payload_mb()} MiB are read"
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        try:
            shown = pixels(decode(body), self.model.config.image_size)
        except UndecodableImageError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))
        probabilities = self._probabilities(shown[None])
        if media_type(accept) == JSON_LINES_TYPE:
            return HTTPStatus.OK, JSON_LINES_TYPE, json.dumps({"prediction": probabilities}) + "\n"
        return HTTPStatus.OK, JSON_TYPE, json.dumps(probabilities)

    def _probabilities(self, shown: Pixels) -> list[float]:
        with self._computing:
            return [float(value) for value in self.model.network.predict_on_batch(shown)[0]]


def media_type(header: str) -> str:
    """A Content-Type or Accept without parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def refusal(status: HTTPStatus, reason: str) -> Answer:
    """An error with its reason, for the person who sent the request."""
    return status, JSON_TYPE, json.dumps({"error": reason})

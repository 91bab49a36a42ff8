"""One port for all of AWS: the table of services that answer, and every failure in the caller's protocol."""

from __future__ import annotations

import contextlib
import logging
import socket
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Response

from local_aws.account import Server
from local_aws.aws_errors import AwsError, not_implemented
from local_aws.callers import Access, check_caller, close_to_pages
from local_aws.calls import WSGIEnvironment, content_length, form_of, unpack_body
from local_aws.control import CallCounts, Control
from local_aws.iam import PolicySimulation
from local_aws.image_registry import ImageRegistry
from local_aws.moto_backend import Moto, MotoRequestHandler
from local_aws.moto_ecr import serve_registry_at
from local_aws.responses import error_response
from local_aws.sagemaker.autoscaling import ApplicationAutoScaling
from local_aws.sagemaker.control_plane import SageMakers
from local_aws.sagemaker.runtime import SageMakerRuntime
from local_aws.service import AwsRequest, NotHeldHere, Service

log = logging.getLogger(__name__)

TLS_GREETING = b"\x16\x03"


def service_table(server: Server, counts: CallCounts) -> tuple[Service, ...]:
    """The table: a request is answered by the first service that owns it and does not leave it to the next."""
    sagemakers = SageMakers(server)
    serve_registry_at(urlsplit(server.endpoint_url).netloc)
    return (
        Control(server, counts, sagemakers),
        ImageRegistry(server.state_dir / "images"),
        sagemakers,
        SageMakerRuntime(sagemakers),
        ApplicationAutoScaling(sagemakers),
        PolicySimulation(),
        Moto(),
    )


class LocalAws:
    """The WSGI application."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._access = Access(server.names)
        self._counts = CallCounts()
        self._services = service_table(server, self._counts)

    def __call__(self, environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        request = AwsRequest(environ, str(uuid.uuid4()))
        response = self._respond(request)
        close_to_pages(response)
        if "x-amzn-RequestId" not in response.headers and "x-amz-request-id" not in response.headers:
            response.headers["x-amzn-RequestId"] = request.id
        return response(environ, start_response)

    def close(self) -> None:
        """End every process of every service."""
        for service in self._services:
            service.close()

    def _respond(self, request: AwsRequest) -> Response:
        """The response to a request, whatever happens."""
        try:
            self._access.check(request.environ)
            unpack_body(request.environ)
            content_length(request.environ)
            request.form.update(form_of(request.environ))
            return self._answer(request)
        except AwsError as error:
            return error_response(error, request.call, request.id)
        except (HTTPException, RecursionError, OSError) as error:
            # Werkzeug's words for a body that ends early or of chunks that are none, and what deep documents end in.
            refused = AwsError("InvalidRequest", f"The request cannot be read: {error or type(error).__name__}")
            return error_response(refused, request.call, request.id)
        except Exception as error:
            log.exception("%s %s failed", request.environ["REQUEST_METHOD"], request.path)
            call = request.call
            reason = f"The local AWS failed on {call.service}:{call.action}: {type(error).__name__}: {error}"
            return error_response(AwsError("InternalFailure", reason), call, request.id)

    def _answer(self, request: AwsRequest) -> Response:
        owners = [service for service in self._services if service.owns(request)]
        if owners[0].is_aws:
            self._check(request)
        for service in owners:
            with contextlib.suppress(NotHeldHere):
                return service.answer(request)
        raise not_implemented(request.call.service, request.call.action)

    def _check(self, request: AwsRequest) -> None:
        """Refuse callers that cannot be, count the call, and raise the fault that was asked for it."""
        check_caller(request.environ, request.signed)
        self._counts.note(request)
        if self._server.faults and not request.is_own:
            self._server.faults.check_call(request.call.service, request.call.action)


class QuietRequestHandler(MotoRequestHandler):
    """A request handler that leaves the terminal to the jobs."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: clients log their own requests."""

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class has it
        """Say nothing of a TLS greeting: Docker tries TLS first with a registry on loopback, then plain HTTP."""
        if not self.raw_requestline.startswith(TLS_GREETING):
            super().log_error(format, *args)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError when the address is not available."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def wsgi_server(listener: socket.socket, application: LocalAws) -> BaseWSGIServer:
    """The threaded HTTP server of an application on a listening socket."""
    host, port = listener.getsockname()[:2]
    return make_server(
        host, port, application, threaded=True, request_handler=QuietRequestHandler, fd=listener.fileno()
    )

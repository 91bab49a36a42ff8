"""One port for all of AWS: SageMaker is answered here, the rest by moto, and every failure in the caller's protocol."""

from __future__ import annotations

import functools
import io
import logging
import socket
import uuid
from collections.abc import Iterable
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Request, Response

from local_aws import iam
from local_aws.access import Access, close_to_pages
from local_aws.aws_errors import AwsError
from local_aws.calls import (
    CONTROL_PREFIX,
    Signature,
    WSGIEnvironment,
    check_call,
    check_caller,
    content_length,
    form_of,
    identify,
    read_json,
    signature,
    unpack_body,
)
from local_aws.constraints import service_model
from local_aws.context import OWN_CALLS, Server
from local_aws.control import Control
from local_aws.moto_backend import Moto, MotoFailure, MotoRequestHandler, account_of
from local_aws.responses import error_response, json_response
from local_aws.sagemaker import runtime
from local_aws.sagemaker.control_plane import SageMaker, SageMakers
from local_aws.sagemaker.core.area import NotHeldHere

SAGEMAKER_TARGET = "SageMaker."

logger = logging.getLogger(__name__)


class LocalAws:
    """The WSGI application."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._access = Access(server.names)
        self._moto = Moto()
        self.sagemakers = SageMakers(server)
        self._own = Control(server, self.sagemakers)

    def __call__(self, environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        request_id = str(uuid.uuid4())
        response = self.respond(environ, request_id)
        close_to_pages(response)
        if "x-amzn-RequestId" not in response.headers and "x-amz-request-id" not in response.headers:
            response.headers["x-amzn-RequestId"] = request_id
        return response(environ, start_response)

    def close(self) -> None:
        """End every process of every job and endpoint."""
        self.sagemakers.close()

    def respond(self, environ: WSGIEnvironment, request_id: str) -> Response:
        """Return the response to a request, whatever happens."""
        form: dict[str, str] = {}
        try:
            self._access.check(environ)
            unpack_body(environ)
            content_length(environ)
            form.update(form_of(environ))
            return self._route(environ, form, request_id)
        except AwsError as error:
            return error_response(error, identify(environ, form), request_id)
        except (HTTPException, RecursionError, OSError) as error:
            # What werkzeug says of a body that ends early or of chunks that are none, and what deep documents end in.
            refused = AwsError("InvalidRequest", f"The request cannot be read: {error or type(error).__name__}")
            return error_response(refused, identify(environ, form), request_id)
        except Exception as error:
            logger.exception("%s %s failed", environ["REQUEST_METHOD"], environ.get("PATH_INFO"))
            call = identify(environ, form)
            reason = f"The local AWS failed on {call.service}:{call.action}: {type(error).__name__}: {error}"
            return error_response(AwsError("InternalFailure", reason), call, request_id)

    def _route(self, environ: WSGIEnvironment, form: dict[str, str], request_id: str) -> Response:
        path = environ.get("PATH_INFO", "/")
        if path.startswith(CONTROL_PREFIX):
            return self._own.answer(environ)
        signed = signature(environ)
        check_caller(environ, signed)
        self._own.calls.note(environ, signed.service, form)
        if self._server.faults and OWN_CALLS not in environ:
            call = identify(environ, form)
            self._server.faults.check_call(call.service, call.action)
        if environ.get("HTTP_X_AMZ_TARGET", "").startswith(SAGEMAKER_TARGET):
            return self._control(environ, signed, request_id)
        if path.startswith("/endpoints/") and signed.service in ("sagemaker", ""):
            return self._invoke(environ, signed, request_id)
        if signed.service == "iam" and form.get("Action") in iam.ACTIONS:
            return iam.simulate(form["Action"], form, signed.region, request_id)
        return self._ask_moto(environ, form)

    def _control(self, environ: WSGIEnvironment, signed: Signature, request_id: str) -> Response:
        """Answer an action of SageMaker's control plane: ours, or moto's for what runs nothing."""
        action = environ["HTTP_X_AMZ_TARGET"].removeprefix(SAGEMAKER_TARGET)
        sagemaker = self._sagemaker(environ, signed)
        if action not in sagemaker.actions:
            _check_foreign(action, signed)
            return self._ask_moto(environ, {})
        body = Request(environ).get_data()
        document = read_json(body)
        try:
            return json_response(sagemaker.answer(action, document), request_id)
        except NotHeldHere:
            return self._ask_moto({**environ, "wsgi.input": io.BytesIO(body)}, {})

    def _invoke(self, environ: WSGIEnvironment, signed: Signature, request_id: str) -> Response:
        response = runtime.respond(self._sagemaker(environ, signed), Request(environ))
        response.headers["x-amzn-RequestId"] = request_id
        return response

    def _ask_moto(self, environ: WSGIEnvironment, form: dict[str, str]) -> Response:
        call = functools.cache(lambda: identify(environ, form))
        if "HTTP_X_AMZ_TARGET" not in environ:
            return self._moto.answer(environ, call)
        body = Request(environ).get_data()
        document = read_json(body)
        try:
            return self._moto.answer({**environ, "wsgi.input": io.BytesIO(body)}, call)
        except MotoFailure:
            check_call(call(), document)
            raise

    def _sagemaker(self, environ: WSGIEnvironment, signed: Signature) -> SageMaker:
        return self.sagemakers.of(account_of(environ, signed.access_key), signed.region)


def _check_foreign(action: str, signed: Signature) -> None:
    """Refuse what moto could not recognise as a call of SageMaker."""
    if action not in service_model("sagemaker").operation_names:
        raise AwsError("UnknownOperationException", f"SageMaker has no action {action!r}.")
    if not signed.service:
        raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)


class QuietRequestHandler(MotoRequestHandler):
    """A request handler that leaves the terminal to the jobs."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: clients log their own requests."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises OSError when the address cannot be had."""
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
    """Return the threaded HTTP server of an application on a listening socket."""
    host, port = listener.getsockname()[:2]
    return make_server(
        host, port, application, threaded=True, request_handler=QuietRequestHandler, fd=listener.fileno()
    )

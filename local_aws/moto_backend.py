"""moto, which answers for every service but SageMaker.

Only `moto_cloudformation`, `moto_cloudwatch`, `moto_ecr` and `moto_sqs` lean on its private parts too.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import tempfile
import threading
from datetime import datetime
from typing import Any, cast
from urllib.parse import quote
from xml.parsers.expat import ExpatError

from botocore.utils import parse_to_aware_datetime
from moto.core import serialize
from moto.core.responses import ActionResult
from moto.iam.exceptions import NotFoundException
from moto.iam.models import get_account_id_from, iam_backends
from moto.logs.responses import LogsResponse
from moto.moto_server import werkzeug_app
from moto.moto_server.utilities import RegexConverter
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import FakeKey
from moto.s3.responses import S3Response
from moto.utilities.utils import get_partition
from werkzeug.wrappers import Response

from local_aws.aws_errors import AwsError, not_implemented
from local_aws.callers import checked_account
from local_aws.calls import ACCOUNT_HEADER, AwsCall, check_call
from local_aws.moto_cloudwatch import mend_cloudwatch
from local_aws.moto_ecr import mend_ecr
from local_aws.moto_sqs import mend_sqs
from local_aws.service import AwsRequest, Service

__all__ = ["Moto", "MotoRequestHandler", "account_of", "ensure_role"]

FORM = "application/x-www-form-urlencoded"
RANGE = re.compile(r"bytes=(\d+)-(\d*)")
UTC_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

log = logging.getLogger(__name__)

SAGEMAKER_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class AnyCharacter(RegexConverter):
    """A part of a path, newlines included: S3 allows them in keys, and moto's routes stop at them."""

    def __init__(self, url_map: Any, *patterns: Any) -> None:
        super().__init__(url_map, *patterns)
        self.regex = f"(?s:{self.regex})"


werkzeug_app.RegexConverter = AnyCharacter  # type: ignore[attr-defined]


def _backend_app(service: Any) -> Any:
    """The application of a service; CloudFormation loads EC2 and a dozen others, so it waits for its first request."""
    if service == "cloudformation":
        from local_aws.moto_cloudformation import mend_cloudformation  # noqa: PLC0415

        mend_cloudformation()
    return create_backend_app(service)


class Dispatcher(DomainDispatcherApplication):
    """moto's dispatcher, which otherwise reads a hundred folders for every request."""

    def __init__(self) -> None:
        super().__init__(_backend_app)
        self._backends: dict[str, Any] = {}

    def get_backend_for_host(self, host: str | None) -> Any:
        """The name of the backend for a host; raises NotImplementedError for a service moto lacks."""
        if host is None:
            return None
        if host not in self._backends:
            self._backends[host] = super().get_backend_for_host(host)
        if self._backends[host] is None:
            raise NotImplementedError(host)
        return self._backends[host]


class StoredValue:
    """The bytes of an object, of which only the asked slice is read."""

    def __init__(self, key: FakeKey) -> None:
        self._key = key

    def __len__(self) -> int:
        return int(self._key.contentsize)

    def __getitem__(self, wanted: slice) -> bytes:
        start, stop, _ = wanted.indices(len(self))
        with self._key.lock:
            self._key._value_buffer.seek(start)
            return bytes(self._key._value_buffer.read(stop - start))


_request = threading.local()
_whole_value: Any = vars(FakeKey)["value"]


def _value(key: FakeKey) -> bytes | StoredValue:
    return StoredValue(key) if getattr(_request, "wants_range", False) else bytes(_whole_value.fget(key))


# moto reads a whole object for every range of it: clients that fetch a large object in parts would wait for minutes.
FakeKey.value = property(_value, _whole_value.fset)  # type: ignore[method-assign, assignment]


def _moment(value: Any) -> datetime:
    """A moment of an answer: one in ISO 8601 is read without a parser that knows whatever people write."""
    is_plain = isinstance(value, str) and UTC_MOMENT.fullmatch(value)
    return datetime.fromisoformat(value) if is_plain else parse_to_aware_datetime(value)


# moto keeps when an object was changed as text, which it reads again for each object of a listing.
serialize.parse_to_aware_datetime = _moment  # type: ignore[attr-defined]


LISTINGS: dict[str, tuple[str, ...]] = {
    "ListObjects": ("Prefix", "Delimiter", "Marker", "NextMarker"),
    "ListObjectsV2": ("Delimiter", "StartAfter"),
    "ListObjectVersions": ("Prefix", "Delimiter", "KeyMarker", "NextKeyMarker"),
    "ListMultipartUploads": ("Prefix", "Delimiter", "KeyMarker", "NextKeyMarker"),
}
"""What of a listing S3 encodes when it is asked to, and moto does not: XML 1.0 cannot hold every character of a key."""
LISTED_KEYS = {
    "ListObjects": ("CommonPrefixes.Prefix",),
    "ListObjectVersions": ("CommonPrefixes.Prefix", "Versions.Key", "DeleteMarkers.Key"),
    "ListMultipartUploads": ("CommonPrefixes.Prefix", "Uploads.Key"),
}
_serialized = S3Response.serialized


def _serialized_as_asked(response: S3Response, answer: ActionResult) -> Any:
    """Encode what S3 encodes of a listing with `encoding-type=url`."""
    action, listing = response.data.get("Action", ""), answer.result
    is_asked = (response.querystring.get("encoding-type") or [None])[0] == "url"
    if is_asked and action in LISTINGS and isinstance(listing, dict):
        listing["EncodingType"] = "url"
        for name in LISTINGS[action]:
            if listing.get(name):
                listing[name] = quote(listing[name])
        for names, key in (path.split(".") for path in LISTED_KEYS.get(action, ())):
            for entry in listing.get(names) or ():
                entry[key] = quote(entry[key])
    return _serialized(response, answer)


S3Response.serialized = _serialized_as_asked  # type: ignore[method-assign, assignment]


_filter_log_events = LogsResponse.filter_log_events


def _filter_log_events_by_prefix(response: LogsResponse) -> str:
    """Put the names of the streams instead of their prefix, which moto passes over."""
    prefix = response._get_param("logStreamNamePrefix")
    group = response.logs_backend.groups.get(response._get_param("logGroupName"))
    if prefix and group is not None:
        names = [name for name in group.streams if name.startswith(prefix)]
        if not names:
            return json.dumps({"events": [], "searchedLogStreams": []})
        response.body = json.dumps({**json.loads(response.body), "logStreamNames": names})
    return _filter_log_events(response)


LogsResponse.filter_log_events = _filter_log_events_by_prefix  # type: ignore[method-assign, assignment]


mend_cloudwatch()
mend_ecr()
mend_sqs()


class Moto(Service):
    """moto's WSGI application, with what it lacks or fails on turned into errors of the API."""

    def __init__(self) -> None:
        self._application = Dispatcher()

    def owns(self, request: AwsRequest) -> bool:
        """Whatever comes: moto is the last in the table."""
        del request
        return True

    def answer(self, request: AwsRequest) -> Response:
        """moto's response.

        Raises AwsError, with a code and a status that no client retries, for an action moto does not have or fails on,
        and for a JSON document that does not fit the model of its action.
        """
        document = request.document() if request.target else None
        try:
            return self._ask(request)
        except MotoFailure:
            if request.target:
                check_call(request.call, document)
            raise

    def _ask(self, request: AwsRequest) -> Response:
        environ = dict(request.environ)
        asked = RANGE.fullmatch(environ.get("HTTP_RANGE", "")) if environ["REQUEST_METHOD"] == "GET" else None
        _request.wants_range = asked is not None and int(asked[2] or asked[1]) >= int(asked[1])
        if environ["REQUEST_METHOD"] == "PUT" and environ.get("CONTENT_TYPE", "").startswith(FORM):
            environ["CONTENT_TYPE"] = "binary/octet-stream"  # what urllib and curl call any bytes
        try:
            response = Response.from_app(self._application, environ)
        except NotImplementedError:
            raise not_implemented(request.call.service, request.call.action) from None
        except ExpatError as error:
            raise AwsError("MalformedXML", f"The XML you provided was not well-formed: {error}") from error
        except Exception as error:
            log.warning("moto failed on %s:%s: %s", request.call.service, request.call.action, _reason(error))
            log.debug("moto's failure", exc_info=True)
            raise _failure(request.call, _reason(error)) from error
        finally:
            _request.wants_range = False
        if response.status_code >= 400:
            _check_answer(response, request)
        return response


def _check_answer(response: Response, request: AwsRequest) -> None:
    """Raise AwsError for the pages of the web framework below moto, for server errors, and for silence."""
    method, body = request.environ["REQUEST_METHOD"], response.get_data()
    if not body:
        response.headers.pop("Content-Type", None)  # the framework calls silence HTML
    is_page = body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))
    is_silent = not body.strip() and method != "HEAD" and request.call.service != "s3"
    if is_page or is_silent:
        log.warning("moto has no answer for %s:%s", request.call.service, request.call.action)
        raise not_implemented(request.call.service, request.call.action)
    if not body and method != "HEAD":
        _check_silence(response.status_code, request.environ["PATH_INFO"])
    if response.status_code >= 500:
        reason = f"HTTP {response.status_code}: {body[:500].decode(errors='replace')}"
        log.warning("moto answered %s:%s with %s", request.call.service, request.call.action, reason)
        raise _failure(request.call, reason)


def _check_silence(status: int, path: str) -> None:
    """Raise what S3 says where moto says nothing."""
    if status == 403:
        raise AwsError("AccessDenied", "Access Denied", status)
    if status == 404 and "/" not in path.strip("/"):
        raise AwsError("NoSuchBucket", "The specified bucket does not exist", status)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"the disk is full: {error.strerror} in {tempfile.gettempdir()}, where large objects lie. Free some space, "
            "or start the local AWS with --state-dir in another place"
        )
    return f"{type(error).__name__}: {error}"


class MotoFailure(AwsError):
    """A call that moto has and fails on."""


def _failure(call: AwsCall, reason: str) -> AwsError:
    return MotoFailure("InternalFailure", f"The local AWS failed on {call.service}:{call.action}, in moto: {reason}")


def account_of(request: AwsRequest) -> str:
    """The account a request belongs to, by the rules moto has for all its services.

    Raises ValidationException for one that is not twelve digits: the keys of an assumed role have what its ARN says.
    """
    named = request.environ.get(ACCOUNT_HEADER)
    return checked_account(str(named or get_account_id_from(request.signed.access_key)))


def ensure_role(account: str, region: str, name: str, path: str) -> None:
    """Make a role that SageMaker may assume exist, where none of that name does."""
    backend = iam_backends[account][get_partition(region)]
    try:
        backend.get_role(name)
    except NotFoundException:
        backend.create_role(
            role_name=name,
            assume_role_policy_document=json.dumps(SAGEMAKER_TRUST),
            path=path,
            permissions_boundary=None,
            description="Taken to exist by the local AWS",
            tags=cast(Any, []),
            max_session_duration="3600",
        )

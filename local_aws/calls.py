"""What an HTTP request asks of AWS: the service, the region, the action and the protocol it is spoken in."""

from __future__ import annotations

import functools
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import botocore
from botocore.model import OperationModel

from local_aws.aws_errors import AwsError
from local_aws.constraints import checked, service_model

WSGIEnvironment = dict[str, Any]
DEFAULT_REGION = "us-east-1"
CONTROL_PREFIX = "/_local_aws/"
"""The server's own paths, which speak JSON."""
ACCOUNT_HEADER = "HTTP_X_MOTO_ACCOUNT_ID"
"""The header, as WSGI names it, that names an account: the server sends it with all it asks itself."""
LARGEST_FORM = 1 << 20
LARGEST_UNPACKED = 32 << 20
"""Bytes that a compressed request may hold."""
MOST_FIELDS = 10_000
LENGTH = re.compile(r"[0-9]{1,18}")
CREDENTIAL_SCOPE = re.compile(r"Credential=(?P<key>[^/]*)/\d+/(?P<region>[^/]*)/(?P<service>[^/]+)/aws4_request")


@dataclass(frozen=True)
class Signature:
    """What a request's signature reports about it: signing name, region and access key, S3's where it has none."""

    service: str
    region: str
    access_key: str


@dataclass(frozen=True)
class AwsCall:
    """One call of the API: `service` by its signing name, `action` by its name or, failing that, method and path."""

    service: str
    action: str
    protocol: str
    json_version: str = "1.1"
    query_compatible: bool = False
    namespace: str = ""


def signature(environ: WSGIEnvironment) -> Signature:
    """Read the credential scope of the Authorization header or of a presigned URL."""
    text = environ.get("HTTP_AUTHORIZATION") or environ.get("QUERY_STRING", "").replace("%2F", "/").replace("%2f", "/")
    scope = CREDENTIAL_SCOPE.search(text)
    if scope is None:
        return Signature("", DEFAULT_REGION, "")
    return Signature(scope["service"].lower(), scope["region"] or DEFAULT_REGION, scope["key"])


def check_call(call: AwsCall, document: Any) -> None:
    """Raise what AWS says about a JSON document that does not fit botocore's model of the call, if that is known."""
    for metadata in _models(call.service, ""):
        if call.action in service_model(metadata["client"]).operation_names:
            checked(metadata["client"], call.action, document)


def form_of(environ: WSGIEnvironment) -> dict[str, str]:
    """The fields of a small form body (the query protocol), leaving the body readable for whoever comes next."""
    if not _is_form(environ):
        return {}
    size = content_length(environ)
    if not 0 < size <= LARGEST_FORM:
        return {}
    body = environ["wsgi.input"].read(size)
    environ["wsgi.input"] = io.BytesIO(body)
    return _first_values(body.decode(errors="replace"))


def content_length(environ: WSGIEnvironment) -> int:
    """The declared length of the body, 0 if there is none; raises InvalidRequest for what is not a number."""
    declared = str(environ.get("CONTENT_LENGTH") or "0")
    if LENGTH.fullmatch(declared) is None:
        raise AwsError("InvalidRequest", f"The header Content-Length is {declared!r}; a number of bytes is expected.")
    return int(declared)


def unpack_body(environ: WSGIEnvironment) -> None:
    """Put the plain body instead of one that botocore compressed; raises SerializationException for damaged data.

    botocore compresses large requests of a few actions, such as PutMetricData. An object of S3 and an invocation of an
    endpoint keep their encoding: it is part of what they carry.
    """
    is_call = "HTTP_X_AMZ_TARGET" in environ or _is_form(environ)
    if environ.get("HTTP_CONTENT_ENCODING") != "gzip" or not is_call:
        return
    packed = environ["wsgi.input"].read(content_length(environ))
    try:
        unpacking = zlib.decompressobj(wbits=31)
        body = unpacking.decompress(packed, LARGEST_UNPACKED)
    except zlib.error as error:
        raise AwsError("SerializationException", f"The request body is not compressed with gzip: {error}") from error
    if not unpacking.eof:
        limit = f"The request body is cut off, or holds more than {LARGEST_UNPACKED} bytes."
        raise AwsError("SerializationException", limit)
    environ.update({"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))})
    del environ["HTTP_CONTENT_ENCODING"]


def _is_form(environ: WSGIEnvironment) -> bool:
    return str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded")


def read_json(body: bytes) -> Any:
    """Read the JSON body of a request; raises SerializationException for what is none, NaN and Infinity included."""
    try:
        return json.loads(body or b"{}", parse_constant=_refuse_constant)
    except RecursionError as error:
        raise AwsError("SerializationException", "The request body is nested too deeply.") from error
    except ValueError as error:
        raise AwsError("SerializationException", f"The request body is not JSON: {error}") from error


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number of JSON")


def _first_values(query: str) -> dict[str, str]:
    """The first value of each field of a query or form; too many fields are refused."""
    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise AwsError("InvalidRequest", f"The query cannot be read: {error}") from error
    return {key: values[0] for key, values in fields.items()}


def identify(environ: WSGIEnvironment, form: dict[str, str]) -> AwsCall:
    """The call of the API that a request is, as far as botocore's models know."""
    service = signature(environ).service
    try:
        query = _first_values(environ.get("QUERY_STRING", ""))
    except AwsError:
        query = {}
    target: str = environ.get("HTTP_X_AMZ_TARGET", "")
    path = f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '/')}"
    if environ.get("PATH_INFO", "/").startswith(CONTROL_PREFIX):
        return AwsCall("local-aws", path, "rest-json")
    metadata = next(_models(service, target.rpartition(".")[0]), {}) if service else {}
    known: dict[str, Any] = {
        "json_version": str(metadata.get("jsonVersion", "1.1")),
        "query_compatible": "awsQueryCompatible" in metadata,
        "namespace": str(metadata.get("xmlNamespace", "")),
    }
    if environ.get("HTTP_SMITHY_PROTOCOL") == "rpc-v2-cbor":
        return AwsCall(service, path.rpartition("/")[2], "smithy-rpc-v2-cbor", **known)
    if target:
        return AwsCall(service or target.partition("_")[0], target.rpartition(".")[2], "json", **known)
    action = form.get("Action") or query.get("Action")
    if action:
        return AwsCall(service, action, "ec2" if metadata.get("protocol") == "ec2" else "query", **known)
    if not service or service == "s3":
        return AwsCall("s3", _rest_action(["s3"], environ, set(query)) or path, "rest-xml", **known)
    clients = [model["client"] for model in _models(service, "")]
    protocol = "rest-xml" if metadata.get("protocol") == "rest-xml" else "rest-json"
    return AwsCall(service, _rest_action(clients, environ, set(query)) or path, protocol, **known)


def _models(signing_name: str, target_prefix: str) -> Iterator[dict[str, Any]]:
    """Yield the metadata of the services signed by that name, the one of the target prefix alone where there is one."""
    for metadata in _metadata_of_services():
        names = (metadata.get("signingName"), metadata.get("endpointPrefix"), metadata["client"])
        if signing_name in names and target_prefix in ("", metadata.get("targetPrefix")):
            yield metadata


@functools.cache
def _metadata_of_services() -> tuple[dict[str, Any], ...]:
    """Read the head of every service model of botocore: whole models take seconds, their heads a fraction of one."""
    found = []
    for folder in sorted(Path(botocore.__file__).with_name("data").iterdir()):
        models = sorted(folder.glob("*/service-2.json.gz"))
        if not models:
            continue
        with models[-1].open("rb") as packed:
            head = zlib.decompressobj(31).decompress(packed.read(4096)).decode(errors="replace")
        fields = dict(re.findall(r'"(\w+)":\s*"([^"]*)"', head.partition('"operations"')[0]))
        if '"awsQueryCompatible"' in head.partition('"operations"')[0]:
            fields["awsQueryCompatible"] = ""
        namespace = re.search(r'"uri":\s*"([^"]*)"', head)
        found.append({**fields, "client": folder.name, **({"xmlNamespace": namespace[1]} if namespace else {})})
    return tuple(found)


def _rest_action(clients: list[str], environ: WSGIEnvironment, query: set[str]) -> str:
    """The name of the operation whose method, path and fixed query fit best, or an empty string."""
    fits = [
        (len(fixed), len(pattern), operation.name)
        for client in clients
        for operation, pattern, fixed in _routes(client)
        if operation.http["method"] == environ["REQUEST_METHOD"]
        and fixed <= query
        and re.fullmatch(pattern, _encoded_path(environ))
    ]
    return max(fits)[2] if fits else ""


def _encoded_path(environ: WSGIEnvironment) -> str:
    """The path as it was sent: the slashes of an ARN that is one part of a path are encoded there."""
    sent = str(environ.get("REQUEST_URI", "")).partition("?")[0]
    return sent if sent.startswith("/") else quote(environ.get("PATH_INFO", "/"))


@functools.cache
def _routes(client: str) -> tuple[tuple[OperationModel, str, set[str]], ...]:
    """Every operation of a REST service with the pattern of its path and the query keys it always has."""
    model = service_model(client)
    routes = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, fixed = operation.http["requestUri"].partition("?")
        parts = re.split(r"(\{[^}]+\})", path.rstrip("/"))
        pattern = "".join(
            re.escape(part) if not part.startswith("{") else ".+" if part.endswith("+}") else "[^/]+" for part in parts
        )
        keys = {key.partition("=")[0] for key in fixed.split("&") if key}
        routes.append((operation, f"{pattern}/?", keys | _required_query(operation)))
    return tuple(routes)


def _required_query(operation: OperationModel) -> set[str]:
    """The query keys without which an operation is another one: uploadId distinguishes ListParts from GetObject."""
    shape = operation.input_shape
    members = [] if shape is None else [shape.members[name] for name in shape.required_members]
    return {member.serialization["name"] for member in members if member.serialization.get("location") == "querystring"}

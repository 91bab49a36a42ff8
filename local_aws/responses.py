"""Answers of the API as HTTP responses: documents in JSON, errors in the protocol the caller speaks."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from local_aws.aws_errors import AwsError
from local_aws.calls import AwsCall

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold."""


def json_response(document: dict[str, Any], request_id: str) -> Response:
    """A document as SageMaker answers it: None left out, datetimes as seconds since the epoch."""
    return Response(
        json.dumps(without_none(document), default=_epoch_seconds),
        content_type="application/x-amz-json-1.1",
        headers={"x-amzn-RequestId": request_id},
    )


def error_response(error: AwsError, call: AwsCall, request_id: str) -> Response:
    """An error in the words of the call's protocol, so that every client raises it with its code."""
    headers = {"x-amzn-RequestId": request_id}
    if call.protocol == "json":
        headers["x-amzn-ErrorType"] = error.code
        if call.query_compatible:
            headers["x-amzn-query-error"] = f"{error.code};Sender"
        body: str | bytes = json.dumps({"__type": error.code, "message": error.message, "Message": error.message})
        content_type = f"application/x-amz-json-{call.json_version}"
    elif call.protocol == "rest-json":
        headers["x-amzn-ErrorType"] = error.code
        body, content_type = json.dumps({"message": error.message, "code": error.code}), "application/json"
    elif call.protocol == "smithy-rpc-v2-cbor":
        headers["smithy-protocol"] = "rpc-v2-cbor"
        body, content_type = _cbor({"__type": error.code, "message": error.message}), "application/cbor"
    else:
        body, content_type = _xml_error(error, call, request_id), "text/xml"
    if call.service == "s3":
        headers["x-amz-request-id"], content_type = request_id, "application/xml"
    return Response(body, status=error.status, content_type=content_type, headers=headers)


def _xml_error(error: AwsError, call: AwsCall, request_id: str) -> str:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    told = f"<Code>{escape(error.code)}</Code><Message>{escape(NOT_XML.sub('?', error.message))}</Message>"
    if call.protocol == "ec2":
        return f"{head}<Response><Errors><Error>{told}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
    if call.service == "s3":
        return f"{head}<Error>{told}<RequestId>{request_id}</RequestId><HostId>{request_id}</HostId></Error>"
    namespace = f' xmlns="{escape(call.namespace)}"' if call.namespace else ""
    return (
        f"{head}<ErrorResponse{namespace}><Error><Type>Sender</Type>{told}</Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )


def _cbor(fields: dict[str, str]) -> bytes:
    """Encode a map of short texts (RFC 8949)."""
    return bytes([0xA0 + len(fields)]) + b"".join(_cbor_text(part) for pair in fields.items() for part in pair)


def _cbor_text(text: str) -> bytes:
    encoded = text.encode(errors="replace")
    return b"\x79" + len(encoded[:65535]).to_bytes(2, "big") + encoded[:65535]


def without_none(value: Any) -> Any:
    """A document without its members that are None, at any depth."""
    if isinstance(value, dict):
        return {key: without_none(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [without_none(entry) for entry in value]
    return value


def _epoch_seconds(value: Any) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{type(value).__name__} in an answer of the API")

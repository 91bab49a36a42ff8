"""Errors in every protocol of the API, read by botocore's own parsers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import botocore.parsers
import pytest

from local_aws.aws_errors import AwsError
from local_aws.calls import AwsCall, identify
from local_aws.constraints import service_model
from local_aws.responses import error_response, json_response

ERROR = AwsError("NotImplemented", "It is <not> here & never was")
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=AKIA/20240101/eu-west-1/{}/aws4_request, SignedHeaders=host, Signature=0"


def environment(service: str, method: str = "POST", path: str = "/", query: str = "", **headers: str) -> dict[str, Any]:
    signed = {"HTTP_AUTHORIZATION": AUTHORIZATION.format(service)}
    return {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, **signed, **headers}


@pytest.mark.parametrize(
    ("protocol", "call"),
    [
        ("json", AwsCall("sagemaker", "CreateHub", "json")),
        ("json", AwsCall("sqs", "ListMessageMoveTasks", "json", json_version="1.0", query_compatible=True)),
        ("query", AwsCall("iam", "X", "query", namespace="https://iam.amazonaws.com/doc/2010-05-08/")),
        ("ec2", AwsCall("ec2", "X", "ec2")),
        ("rest-json", AwsCall("lambda", "X", "rest-json")),
        ("rest-xml", AwsCall("cloudfront", "X", "rest-xml")),
        ("rest-xml", AwsCall("s3", "X", "rest-xml")),
        ("smithy-rpc-v2-cbor", AwsCall("monitoring", "X", "smithy-rpc-v2-cbor")),
    ],
)
def test_an_error_is_understood(protocol: str, call: AwsCall) -> None:
    answer = error_response(ERROR, call, "request-1")
    parsed = botocore.parsers.create_parser(protocol).parse(
        {"status_code": answer.status_code, "headers": dict(answer.headers), "body": answer.get_data()}, None
    )
    assert (parsed["Error"]["Code"], parsed["Error"]["Message"]) == (ERROR.code, ERROR.message)
    assert parsed["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    ("environ", "form", "service", "action", "protocol"),
    [
        (environment("sagemaker", HTTP_X_AMZ_TARGET="SageMaker.CreateHub"), {}, "sagemaker", "CreateHub", "json"),
        (environment("iam"), {"Action": "GetRole"}, "iam", "GetRole", "query"),
        (environment("ec2"), {"Action": "DescribeVpcs"}, "ec2", "DescribeVpcs", "ec2"),
        (environment("lambda", "GET", "/2015-03-31/functions/f"), {}, "lambda", "GetFunction", "rest-json"),
        (
            environment("cloudfront", "GET", "/2020-05-31/distribution/d"),
            {},
            "cloudfront",
            "GetDistribution",
            "rest-xml",
        ),
        (environment("s3", "GET", "/bucket/a/key", "acl"), {}, "s3", "GetObjectAcl", "rest-xml"),
        (environment("s3", "GET", "/bucket/a/key"), {}, "s3", "GetObject", "rest-xml"),
        (environment("sagemaker", "POST", "/endpoints/e/invocations"), {}, "sagemaker", "InvokeEndpoint", "rest-json"),
        (
            environment("lambda", "GET", "/x", REQUEST_URI="/2020-04-22/code-signing-configs/arn%3Aaws%3Aa%2Fb?x=1"),
            {},
            "lambda",
            "GetCodeSigningConfig",
            "rest-json",
        ),
        (environment("nonesuch", "GET", "/a/b"), {}, "nonesuch", "GET /a/b", "rest-json"),
    ],
)
def test_a_call_is_recognised(
    environ: dict[str, Any], form: dict[str, str], service: str, action: str, protocol: str
) -> None:
    call = identify(environ, form)
    assert (call.service, call.action, call.protocol) == (service, action, protocol)


def test_cbor_calls_are_recognised() -> None:
    path = "/service/GraniteServiceVersion20100801/operation/DescribeAnomalyDetectors"
    call = identify(environment("monitoring", path=path, HTTP_SMITHY_PROTOCOL="rpc-v2-cbor"), {})
    assert (call.action, call.protocol) == ("DescribeAnomalyDetectors", "smithy-rpc-v2-cbor")


def test_sqs_errors_can_be_read_by_clients_of_its_older_protocol() -> None:
    call = identify(environment("sqs", HTTP_X_AMZ_TARGET="AmazonSQS.SendMessage"), {})
    assert error_response(ERROR, call, "r").headers["x-amzn-query-error"] == "NotImplemented;Sender"


def test_documents_leave_out_what_is_none_and_tell_times_in_seconds() -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    answer = json_response({"A": None, "B": [{"C": None, "D": moment}]}, "r")
    assert json.loads(answer.get_data()) == {"B": [{"D": moment.timestamp()}]}
    output = service_model("sagemaker").operation_model("ListTrainingJobs").output_shape
    row = {"TrainingJobSummaries": [{"CreationTime": moment}]}
    parsed = botocore.parsers.create_parser("json").parse(
        {"status_code": 200, "headers": {}, "body": json_response(row, "r").get_data()}, output
    )
    assert parsed["TrainingJobSummaries"][0]["CreationTime"] == moment

"""What cannot be read or cannot be right is refused in the words of AWS, with HTTP 4xx and without a traceback."""

from __future__ import annotations

import gzip
from urllib.parse import urlsplit

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from local_aws.aws_errors import AwsError
from local_aws.calls import AwsCall
from local_aws.faults import Faults
from local_aws.responses import error_response
from local_aws.sagemaker.runtime import _forwarded
from tests.support.local_aws import BUCKET, RunningLocalAws, training_request
from tests.support.wire import call, control, dumped, exchange, raw, status_and_body

DEEP = b"[" * 100_000
REGEX = {"Name": "m", "Regex": "a{99999999999999999999}"}
OVERFLOWING = training_request("x")
OVERFLOWING["AlgorithmSpecification"] = {**OVERFLOWING["AlgorithmSpecification"], "MetricDefinitions": [REGEX]}
NESTED = {"NestedPropertyName": "CreationTime", "Filters": [{"Name": "a", "Operator": "Equals", "Value": "b"}]}
TOKEN_OF_TEXTS, TOKEN_OF_NUMBERS = "WyJhIiwgMi4wLCAiYSJd", "WzEuMCwgMi4wLCAiYSJd"
BOMB = gzip.compress(bytes(64 << 20))
SQS = {"X_Amz_Target": "AmazonSQS.CreateQueue"}
NO_XML = {"Content_MD5": "x"}

REFUSED = {
    "not JSON": (call("ListModels", b"{'a': 1}"), "SerializationException"),
    "not UTF-8": (call("ListModels", b'{"a": "\xff"}'), "SerializationException"),
    "nested too deeply": (call("ListModels", DEEP), "SerializationException"),
    "NaN": (call("ListModels", b'{"MaxResults": NaN}'), "SerializationException"),
    "Infinity in a float": (call("ListModels", b'{"CreationTimeAfter": 1e999}'), "SerializationException"),
    "a number of 5,000 digits": (call("ListModels", b'{"MaxResults": %s}' % (b"9" * 5000)), "SerializationException"),
    "a number of 40 digits": (call("ListModels", dumped({"MaxResults": 10**40})), "SerializationException"),
    "a lone surrogate": (call("DescribeTrainingJob", b'{"TrainingJobName": "\\ud800"}'), "SerializationException"),
    "a lone surrogate in a key": (
        call("CreateTrainingJob", dumped({**training_request("x"), "HyperParameters": {"\ud800": "1"}})),
        "SerializationException",
    ),
    "a token of another order": (
        call("ListTrainingJobs", dumped({"SortBy": "CreationTime", "NextToken": TOKEN_OF_TEXTS})),
        "ValidationException",
    ),
    "a token of numbers for names": (
        call("ListTrainingJobs", dumped({"SortBy": "Name", "NextToken": TOKEN_OF_NUMBERS})),
        "ValidationException",
    ),
    "digits that are not": (
        call("Search", dumped({"Resource": "TrainingJob", "NextToken": "²"})),
        "ValidationException",
    ),
    "not compressed, as it says": (call("ListModels", b"{}", Content_Encoding="gzip"), "SerializationException"),
    "compressed and cut off": (
        call("ListModels", gzip.compress(b"{}")[:-9], Content_Encoding="gzip"),
        "SerializationException",
    ),
    "64 MiB in 64 KiB": (call("ListModels", BOMB, Content_Encoding="gzip"), "SerializationException"),
    "a pattern that overflows": (call("CreateTrainingJob", dumped(OVERFLOWING)), "ValidationException"),
    "a length in words": (raw("POST", "/", "sagemaker", b"{}", Content_Length="two"), "InvalidRequest"),
    "a negative length": (raw("POST", "/", "iam", b"a=b", Content_Length="-3"), "InvalidRequest"),
    "chunks that are none": (
        call("ListModels", b"zz\r\n").replace(b"Content-Length: 4", b"Transfer-Encoding: chunked"),
        "InvalidRequest",
    ),
    "no signature": (
        raw("GET", f"/{BUCKET}", "s3").replace(b"AWS4-HMAC-SHA256 Cred", b"N"),
        "IncompleteSignatureException",
    ),
    "another service: not JSON": (raw("POST", "/", "sqs", b"{", **SQS), "SerializationException"),
    "another service: nested": (raw("POST", "/", "sqs", DEEP, **SQS), "SerializationException"),
    "not XML": (raw("POST", f"/{BUCKET}?delete", "s3", b"<Delete><Obj", **NO_XML), "MalformedXML"),
    "a fault that is not JSON": (control("faults", b"status=500"), "SerializationException"),
    "a fault that is a list": (control("faults", b"[]"), "SerializationException"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_a_code_of_the_api(local_aws: RunningLocalAws, s3: object, case: str) -> None:
    request, code = REFUSED[case]
    status, said = status_and_body(exchange(urlsplit(local_aws.url).port or 0, request))
    assert 400 <= status < 500, said
    assert code in said
    assert "Traceback" not in said
    assert "InternalFailure" not in said


def test_a_nested_filter_on_what_is_no_list_finds_nothing(local_aws: RunningLocalAws) -> None:
    request = {"Resource": "TrainingJob", "SearchExpression": {"NestedFilters": [NESTED]}}
    status, said = status_and_body(exchange(urlsplit(local_aws.url).port or 0, call("Search", dumped(request))))
    assert (status, '"Results": []' in said) == (200, True)


REFUSAL = {"action": "sagemaker:ListModels", "code": "ThrottlingException"}


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({**REFUSAL, "status": "many"}, "status"),
        ({**REFUSAL, "status": 99}, "status"),
        ({**REFUSAL, "status": 600}, "status"),
        ({**REFUSAL, "status": None}, "status"),
        ({**REFUSAL, "status": True}, "status"),
        ({**REFUSAL, "times": "three"}, "times"),
        ({**REFUSAL, "times": 0}, "times"),
        ({**REFUSAL, "times": 10**30}, "times"),
        ({**REFUSAL, "code": "two\nlines"}, "code"),
        ({**REFUSAL, "action": ["sagemaker"]}, "action"),
        ({**REFUSAL, "action": "ListModels"}, "action"),
        ({**REFUSAL, "message": 7}, "message"),
        ({**REFUSAL, "colour": "red"}, "colour"),
        ({"failure_reason": 1}, "failure_reason"),
        ({"failure_reason": "x", "times": -1}, "times"),
        ({}, "action"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_by_the_name_of_its_field(fault: dict[str, object], named: str) -> None:
    faults = Faults()
    with pytest.raises(AwsError, match=rf"ValidationException: That is not a fault: .*{named}"):
        faults.expect(fault)
    assert not faults
    assert faults.reason_to_fail() is None


@pytest.mark.parametrize("protocol", ["rest-xml", "query", "ec2", "json", "rest-json", "smithy-rpc-v2-cbor"])
@pytest.mark.parametrize("message", ["a\0b", "\ud800", "\x1b[31m", "<&>", "x" * 70_000])
def test_an_error_can_say_anything_in_every_protocol(protocol: str, message: str) -> None:
    answer = error_response(AwsError("Code", message), AwsCall("s3", "Action", protocol), "id")
    body = answer.get_data()
    assert b"Code" in body
    if "xml" in protocol or protocol in ("query", "ec2"):
        assert not set(body) & {0, 0x1B}


def test_a_folded_header_reaches_a_container_on_one_line() -> None:
    environ = EnvironBuilder(method="POST").get_environ()
    environ["HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"] = "first\r\n second"
    forwarded = _forwarded(Request(environ), "image/\r\n\tjpeg", "application/\r\n json")
    assert set(forwarded.values()) == {"image/ jpeg", "application/ json", "first second"}

"""Whatever is sent to the local AWS is answered in the words of AWS: no traceback, no server error, no endless work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.account import Server
from local_aws.container_images import ContainerImages
from local_aws.job_slots import JobSlots
from local_aws.server import LocalAws, listen, wsgi_server
from tests.fuzz.bounds import damaged, fuzz, within
from tests.support.local_aws import BUCKET, ROLE, TOY_IMAGE, training_request
from tests.support.wire import SCOPE, call, control, dumped, exchange, raw

SECONDS, MEGABYTES = 5, 150
TOO_NEW = 505  # what Python's HTTP server says of a version of HTTP that it does not speak


class Tracebacks(logging.Handler):
    """Keeps what the server logs with a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.seen.append(logging.Formatter().format(record))
        elif "Traceback" in record.getMessage():
            self.seen.append(record.getMessage())


@dataclass
class Target:
    """A server of this process, on a port of its own, where jobs wait for ever and nothing runs."""

    port: int
    server: Server
    tracebacks: Tracebacks = field(default_factory=Tracebacks)

    def answer(self, request: bytes) -> bytes:
        """Send bytes and no more, and return everything that comes back; asserts that it is not a server error."""
        self.server.faults.forget()
        with within(seconds=SECONDS, megabytes=MEGABYTES):
            answer = exchange(self.port, request)
        assert not self.tracebacks.seen, self.tracebacks.seen.pop()
        status = answer.split(b" ", 2)[1:2]
        assert not answer.startswith(b"HTTP/") or status[0] < b"500" or int(status[0]) == TOO_NEW, answer
        assert b"InternalFailure" not in answer or b", in moto: " in answer, answer
        return answer


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    images = ContainerImages({"toy": ["false"]})
    server = Server(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("fuzz") / "state", JobSlots(0), images)
    application = LocalAws(server)
    http = wsgi_server(listener, application)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    found = Target(port, server)
    logging.getLogger().addHandler(found.tracebacks)
    found.answer(raw("PUT", f"/{BUCKET}", "s3"))
    yield found
    logging.getLogger().removeHandler(found.tracebacks)
    application.close()
    http.shutdown()
    listener.close()


RANGE = {"Name": "learning_rate", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
TRAINING = {
    **training_request("fuzz"),
    "HyperParameters": {"epochs": "1"},
    "Environment": {"NAME": "value"},
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/c", "LocalPath": "/opt/ml/checkpoints"},
    "Tags": [{"Key": "a", "Value": "b"}],
}
DEFINITION = {
    **{key: value for key, value in TRAINING.items() if key not in ("TrainingJobName", "Tags", "HyperParameters")},
    "StaticHyperParameters": {"epochs": "4"},
    "AlgorithmSpecification": {
        "TrainingImage": TOY_IMAGE,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "accuracy", "Regex": "accuracy=(.*)"}],
    },
}
TUNING = {
    "HyperParameterTuningJobName": "fuzz",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Hyperband",
        "StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 4}},
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "accuracy"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
        "ParameterRanges": {
            "ContinuousParameterRanges": [RANGE],
            "IntegerParameterRanges": [{"Name": "layers", "MinValue": "1", "MaxValue": "9"}],
            "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["sgd", "adam"]}],
        },
    },
    "TrainingJobDefinition": DEFINITION,
}
PLACE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/x"}}
VARIANT = {
    "VariantName": "a",
    "ModelName": "m",
    "InitialInstanceCount": 1,
    "InstanceType": "ml.m5.large",
    "InitialVariantWeight": 1.0,
}
FILTER = {"Name": "CreationTime", "Operator": "GreaterThan", "Value": "2026-01-01"}
SEARCH = {
    "Resource": "TrainingJob",
    "SearchExpression": {
        "Filters": [FILTER, {"Name": "Tags.a", "Operator": "Equals", "Value": "b"}],
        "NestedFilters": [{"NestedPropertyName": "InputDataConfig", "Filters": [FILTER]}],
        "SubExpressions": [{"Filters": [FILTER], "Operator": "Or"}],
    },
    "SortBy": "CreationTime",
    "NextToken": "1",
    "MaxResults": 5,
}
CONTAINERS = [{"Image": TOY_IMAGE, "Environment": {"A": "b"}}]
SPECIFICATION = {
    "Containers": CONTAINERS,
    "SupportedContentTypes": ["image/jpeg"],
    "SupportedResponseMIMETypes": ["text/csv"],
}
TOKEN = "WzEuMCwgMi4wLCAiYSJd"
REQUESTS: dict[str, dict[str, Any]] = {
    "CreateTrainingJob": TRAINING,
    "UpdateTrainingJob": {"TrainingJobName": "known", "ResourceConfig": {"KeepAlivePeriodInSeconds": 5}},
    "DescribeTrainingJob": {"TrainingJobName": "known"},
    "ListTrainingJobs": {"NextToken": TOKEN, "SortBy": "Name", "CreationTimeAfter": 1.5, "NameContains": "a"},
    "CreateHyperParameterTuningJob": TUNING,
    "ListHyperParameterTuningJobs": {"NextToken": TOKEN, "MaxResults": 3, "SortOrder": "Descending"},
    "ListTrainingJobsForHyperParameterTuningJob": {"HyperParameterTuningJobName": "fuzz", "NextToken": TOKEN},
    "CreateModel": {"ModelName": "m", "ExecutionRoleArn": ROLE, "Containers": CONTAINERS},
    "CreateEndpointConfig": {
        "EndpointConfigName": "c",
        "ProductionVariants": [VARIANT],
        "DataCaptureConfig": {
            "InitialSamplingPercentage": 50,
            "DestinationS3Uri": f"s3://{BUCKET}/captures",
            "CaptureOptions": [{"CaptureMode": "Input"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        },
        "AsyncInferenceConfig": {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2},
            "OutputConfig": {
                "S3OutputPath": f"s3://{BUCKET}/answers",
                "S3FailurePath": f"s3://{BUCKET}/failures",
                "NotificationConfig": {"SuccessTopic": "arn:aws:sns:us-east-1:123456789012:t"},
            },
        },
    },
    "UpdateEndpointWeightsAndCapacities": {
        "EndpointName": "e",
        "DesiredWeightsAndCapacities": [{"VariantName": "a", "DesiredWeight": 1.0, "DesiredInstanceCount": 1}],
    },
    "CreateTransformJob": {
        "TransformJobName": "t",
        "ModelName": "m",
        "MaxConcurrentTransforms": 2,
        "MaxPayloadInMB": 6,
        "TransformInput": {"DataSource": PLACE, "SplitType": "Line"},
        "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/out", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    },
    "CreateModelPackage": {"ModelPackageGroupName": "g", "InferenceSpecification": SPECIFICATION},
    "ListModelPackages": {"ModelPackageGroupName": "g", "NextToken": TOKEN, "ModelApprovalStatus": "Approved"},
    "AddTags": {
        "ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/known",
        "Tags": [{"Key": "a", "Value": "b"}],
    },
    "ListTags": {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/known", "NextToken": "x"},
    "Search": SEARCH,
}
SCALED = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/e/variant/a",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
SCALING: dict[str, dict[str, Any]] = {
    "RegisterScalableTarget": {**SCALED, "MinCapacity": 1, "MaxCapacity": 2, "SuspendedState": {}},
    "DeregisterScalableTarget": SCALED,
    "DescribeScalableTargets": {
        "ServiceNamespace": "sagemaker",
        "ResourceIds": ["a"],
        "NextToken": "x",
        "MaxResults": 2,
    },
    "DescribeScalingPolicies": {**SCALED, "PolicyNames": ["p"], "NextToken": "x"},
    "PutScheduledAction": {
        **SCALED,
        "ScheduledActionName": "p",
        "Schedule": "rate(1 day)",
        "ScalableTargetAction": {"MinCapacity": 1, "MaxCapacity": 2},
    },
    "DeleteScheduledAction": {**SCALED, "ScheduledActionName": "p"},
    "DescribeScheduledActions": {**SCALED, "ScheduledActionNames": ["p"], "NextToken": "x"},
    "PutScalingPolicy": {
        **SCALED,
        "PolicyName": "p",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": 5.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        },
    },
}
FAULTS: list[dict[str, Any]] = [
    {"action": "sagemaker:ListModels", "code": "ThrottlingException", "message": "no", "status": 400, "times": 2},
    {"failure_reason": "CapacityError: none", "times": 1},
]
ODD_NUMBERS = (None, True, 0, -1, 10**400, 2**63, 1e308, 1e30, -(10**30), float("nan"), float("inf"))
ODD_TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",
    "²",
    "9" * 5000,
    "nan",
    "1e999",
    "-0",
    "../..",
    "s3://",
    "s3://[bad/x",
    "arn:",
    "\n",
)
ODD_PATTERNS = ("(a+)+$", "a{99999999999}", "(" * 200, "a" * 100_000, "2026-13-45")
ODD_NESTS = ([], {}, [[]] * 50, {"a": {"b": [1]}}, ["x"] * 300, {"\ud800": 1})
ODD = (
    st.sampled_from((*ODD_NUMBERS, *ODD_TEXTS, *ODD_PATTERNS, *ODD_NESTS))
    | st.text(max_size=8)
    | st.integers()
    | st.floats()
)


@st.composite
def misshapen(draw: st.DrawFn, document: Any) -> Any:
    """A document of which one to three members are something else, are gone, or have company."""
    copy = deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        node = copy
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = draw(st.sampled_from(keys))
            if not (isinstance(node[key], dict | list) and node[key]) or draw(st.integers(0, 3)) == 0:
                match draw(st.sampled_from(("change", "change", "remove", "company"))):
                    case "change":
                        node[key] = deepcopy(draw(ODD))
                    case "remove":
                        del node[key]
                    case "company" if isinstance(node, dict):
                        node[draw(st.text(max_size=5))] = deepcopy(draw(ODD))
                    case _:
                        node.append(deepcopy(draw(ODD))) if isinstance(node, list) else None
                break
            node = node[key]
    return copy


@fuzz
@given(data=st.data())
def test_a_misshapen_request_is_refused_in_the_words_of_aws(target: Target, data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(sorted(REQUESTS)))
    document = data.draw(misshapen(REQUESTS[action]))
    target.answer(call(action, dumped(document)))


def scaling(action: str, document: Any) -> bytes:
    """A call of Application Auto Scaling."""
    target = {"X_Amz_Target": f"AnyScaleFrontendService.{action}", "Content_Type": "application/x-amz-json-1.1"}
    return raw("POST", "/", "application-autoscaling", dumped(document), **target)


@fuzz
@given(data=st.data())
def test_a_misshapen_request_to_scale_is_refused_in_the_words_of_aws(target: Target, data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(sorted(SCALING)))
    target.answer(scaling(action, data.draw(misshapen(SCALING[action]))))


@fuzz
@given(document=st.sampled_from(FAULTS).flatmap(misshapen))
def test_a_misshapen_fault_is_refused(target: Target, document: Any) -> None:
    target.answer(control("faults", dumped(document)))


FORM = {"Content_Type": "application/x-www-form-urlencoded"}
DELETE = b"<Delete><Object><Key>a</Key></Object><Quiet>true</Quiet></Delete>"
WIRE = [
    *(call(action, dumped(document)) for action, document in REQUESTS.items()),
    *(scaling(action, document) for action, document in SCALING.items()),
    *(control("faults", dumped(fault)) for fault in FAULTS),
    control("training-jobs/known/interruption", b""),
    raw("GET", "/_local_aws/health", ""),
    raw("POST", "/endpoints/e/invocations", "sagemaker", b"x", X_Amzn_SageMaker_Custom_Attributes="a", Accept="a/b"),
    raw(
        "POST",
        "/endpoints/e/async-invocations",
        "sagemaker",
        X_Amzn_SageMaker_InputLocation="s3://a/b",
        X_Amzn_SageMaker_RequestTTLSeconds="60",
        X_Amzn_SageMaker_Filename="a.out",
    ),
    raw("PUT", f"/{BUCKET}/a%20b", "s3", b"x", x_amz_meta_a="b", Content_Type="image/jpeg"),
    raw("GET", f"/{BUCKET}/a%20b", "s3", Range="bytes=0-5"),
    raw("GET", f"/{BUCKET}?list-type=2&prefix=a&start-after=b&max-keys=3&continuation-token=x", "s3"),
    raw("GET", f"/{BUCKET}?location", "s3"),
    raw("POST", f"/{BUCKET}/a?uploads", "s3"),
    raw("POST", f"/{BUCKET}?delete", "s3", DELETE, Content_MD5="x"),
    raw("POST", "/", "sqs", b'{"QueueName": "q"}', X_Amz_Target="AmazonSQS.CreateQueue"),
    raw("POST", "/", "logs", b'{"logGroupName": "g"}', X_Amz_Target="Logs_20140328.CreateLogGroup"),
    raw("POST", "/", "iam", b"Action=GetRole&RoleName=r&Version=2010-05-08", **FORM),
    raw("POST", "/", "iam", b"Action=SimulateCustomPolicy&ActionNames.member.1=a&Version=2010-05-08", **FORM),
    raw("POST", "/", "sts", b"Action=GetCallerIdentity&Version=2011-06-15", **FORM),
]


@fuzz
@given(request=damaged(*WIRE))
def test_damaged_bytes_on_the_wire_are_answered_or_dropped(target: Target, request: bytes) -> None:
    target.answer(request)


WORDS = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=12) | st.sampled_from(
    [
        "../..",
        "/etc",
        "%2e%2e%2f",
        "a" * 300,
        "us-east-1",
        "sagemaker",
        "s3",
        "123456789012",
        "-1",
        "NaN",
        "a\r\n b",
        "%",
    ]
)


HEADERS = (
    "X-Moto-Account-Id",
    "Content-Length",
    "Content-Type",
    "Transfer-Encoding",
    "Range",
    "smithy-protocol",
    "Expect",
    "X-Amzn-SageMaker-Custom-Attributes",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
)


@fuzz
@given(data=st.data())
def test_foreign_headers_scopes_and_paths_are_refused_in_the_words_of_aws(target: Target, data: st.DataObject) -> None:
    key, region, service = (data.draw(WORDS | st.just(usual)) for usual in ("fuzz", "us-east-1", "sagemaker"))
    headers = {
        "Host": "localhost",
        "Authorization": SCOPE.format(service).replace("us-east-1", region).replace("wire", key),
        "X-Amz-Target": "SageMaker." + data.draw(WORDS | st.just("ListTrainingJobs")),
        data.draw(st.sampled_from(HEADERS)): data.draw(WORDS),
    }
    if data.draw(st.booleans()):
        del headers["X-Amz-Target"]
    method = data.draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]))
    path = data.draw(st.sampled_from(["/", "/endpoints/", "/_local_aws/", f"/{BUCKET}/", f"/{BUCKET}?", "/moto-api/"]))
    line = f"{method} {path}{data.draw(WORDS.map(lambda word: word.replace(' ', '')))} HTTP/1.1"
    request = "\r\n".join([line, *(f"{name}: {value}" for name, value in headers.items()), "", "{}"])
    target.answer(request.encode("latin-1"))


def test_nothing_was_written_beside_the_state_directory(target: Target) -> None:
    assert [path.name for path in target.server.state_dir.parent.iterdir()] in ([], ["state"])
    if target.server.state_dir.exists():
        assert {path.name for path in target.server.state_dir.iterdir()} <= {"123456789012"}

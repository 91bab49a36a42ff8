from __future__ import annotations

import collections
import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.local_aws.sagemaker.conftest import IMAGE, Scripted, start_scripted, unique, wait_for
from tests.support.local_aws import ROLE


@pytest.fixture
def endpoint(scripted: Scripted, control: Any) -> Iterator[str]:
    name = deployed(scripted, control, AllTraffic=(scripted.model("good"), 1.0))
    yield name
    with contextlib.suppress(ClientError):
        control.delete_endpoint(EndpointName=name)


def deployed(scripted: Scripted, control: Any, **weights: tuple[str, float]) -> str:
    name = unique("endpoint")
    control.create_endpoint(EndpointName=name, EndpointConfigName=scripted.config(**weights))
    assert scripted.settled(name)["EndpointStatus"] == "InService"
    return name


def said(runtime: Any, endpoint: str, body: bytes = b"image", **options: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        runtime.invoke_endpoint(EndpointName=endpoint, Body=body, **options)["Body"].read()
    )
    return answer


def test_an_endpoint_answers_when_its_container_does(scripted: Scripted, control: Any, runtime: Any) -> None:
    name = unique("endpoint")
    config = scripted.config(AllTraffic=(scripted.model("the model"), 1.0))
    arn = control.create_endpoint(EndpointName=name, EndpointConfigName=config)["EndpointArn"]
    creating = control.describe_endpoint(EndpointName=name)
    assert creating["EndpointStatus"] == "Creating"
    (variant,) = creating["PendingDeploymentSummary"]["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (0, 1)
    assert variant["VariantStatus"][0]["StatusMessage"] == "Launching 1 instance(s)."
    description = scripted.settled(name)
    assert description["EndpointStatus"] == "InService"
    assert "PendingDeploymentSummary" not in description
    assert description["EndpointArn"] == arn == f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}"
    (variant,) = description["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == variant["DesiredInstanceCount"] == 1
    assert variant["DeployedImages"][0]["SpecifiedImage"] == IMAGE
    assert said(runtime, name)["model"] == "the model"
    assert name in [entry["EndpointName"] for entry in control.list_endpoints(NameContains=name)["Endpoints"]]


def test_bytes_and_headers_pass_through_both_ways(runtime: Any, endpoint: str) -> None:
    body = bytes(range(256)) * 100
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint, Body=body, ContentType="image/jpeg", Accept="application/octet-stream"
    )
    assert answer["Body"].read() == body
    assert answer["ContentType"] == "application/octet-stream"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert said(runtime, endpoint, ContentType="application/x-image")["content_type"] == "application/x-image"


def test_a_containers_error_is_a_model_error_with_its_words(runtime: Any, endpoint: str) -> None:
    with pytest.raises(runtime.exceptions.ModelError, match="this is no image") as refusal:
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"bad image")
    response = refusal.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (response["OriginalStatusCode"], response["OriginalMessage"]) == (400, "this is no image")


def test_a_body_of_six_mebibytes_passes_and_one_byte_more_does_not(runtime: Any, endpoint: str) -> None:
    assert said(runtime, endpoint, b"x" * 6_291_456)["bytes"] == 6_291_456
    with pytest.raises(runtime.exceptions.ValidationError, match="6291456"):
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"x" * 6_291_457)


def test_an_unknown_endpoint_is_a_validation_error(runtime: Any) -> None:
    with pytest.raises(runtime.exceptions.ValidationError, match="Endpoint nowhere of account 123456789012 not found"):
        runtime.invoke_endpoint(EndpointName="nowhere", Body=b"x")


@pytest.mark.parametrize(
    ("change", "field"),
    [({"EndpointName": "a_b"}, "endpointName"), ({"TargetVariant": "-"}, "targetVariant")],
)
def test_an_invocation_that_breaks_the_model_of_the_api_is_refused(
    runtime: Any, endpoint: str, change: dict[str, str], field: str
) -> None:
    with pytest.raises(runtime.exceptions.ValidationError, match=f"at '{field}' failed to satisfy constraint"):
        runtime.invoke_endpoint(**{"EndpointName": endpoint, "Body": b"x", **change})


def test_a_model_that_cannot_load_fails_the_endpoint_with_its_last_lines(scripted: Scripted, control: Any) -> None:
    name = unique("endpoint")
    config = scripted.config(AllTraffic=(scripted.broken_model(), 1.0))
    control.create_endpoint(EndpointName=name, EndpointConfigName=config)
    description = scripted.settled(name)
    assert description["EndpointStatus"] == "Failed"
    reason = description["FailureReason"]
    assert "primary container for production variant AllTraffic did not pass the ping health check" in reason
    assert "cannot load the model: broken.txt is in it" in reason
    with pytest.raises(ClientError, match="Cannot update failed endpoint"):
        control.update_endpoint(EndpointName=name, EndpointConfigName=config)


def test_an_archive_that_leaves_its_folder_is_refused(scripted: Scripted, control: Any) -> None:
    evil = scripted.put_model({"../../../escaped.txt": b"out"})
    for url, reason in ((evil, "Failed to extract model data"), (scripted.put("x.tar.gz", b"no archive"), "tar.gz")):
        name = unique("endpoint")
        config = scripted.config(AllTraffic=(scripted.model(ModelDataUrl=url), 1.0))
        control.create_endpoint(EndpointName=name, EndpointConfigName=config)
        description = scripted.settled(name)
        assert description["EndpointStatus"] == "Failed"
        assert reason in description["FailureReason"]
    assert not list(scripted.state_dir.rglob("escaped.txt"))


def test_an_update_serves_without_a_gap(scripted: Scripted, control: Any, runtime: Any, endpoint: str) -> None:
    answers, failures, ended = [], [], threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answers.append(said(runtime, endpoint)["model"])
            except ClientError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    fresh = scripted.config(AllTraffic=(scripted.model("better"), 1.0))
    control.update_endpoint(EndpointName=endpoint, EndpointConfigName=fresh)
    assert scripted.settled(endpoint)["EndpointConfigName"] == fresh
    wait_for(lambda: answers[-1:], lambda last: last == ["better"])
    ended.set()
    for thread in threads:
        thread.join()
    assert not [failure.response["OriginalMessage"] for failure in failures]
    assert set(answers) == {"good", "better"}


def test_a_failed_update_leaves_the_old_model_serving(
    scripted: Scripted, control: Any, runtime: Any, endpoint: str
) -> None:
    before = control.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    broken = scripted.config(AllTraffic=(scripted.broken_model(), 1.0))
    control.update_endpoint(EndpointName=endpoint, EndpointConfigName=broken)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        control.update_endpoint(EndpointName=endpoint, EndpointConfigName=broken)
    description = scripted.settled(endpoint)
    assert (description["EndpointStatus"], description["EndpointConfigName"]) == ("InService", before)
    assert "did not pass the ping health check" in description["FailureReason"]
    assert said(runtime, endpoint)["model"] == "good"


def test_traffic_follows_the_weights_and_the_target(scripted: Scripted, control: Any, runtime: Any) -> None:
    name = deployed(scripted, control, champion=(scripted.model("a"), 3.0), challenger=(scripted.model("b"), 1.0))
    counts = collections.Counter(said(runtime, name)["model"] for _ in range(120))
    assert 65 <= counts["a"] <= 110
    answer = runtime.invoke_endpoint(EndpointName=name, Body=b"x", TargetVariant="challenger")
    assert answer["InvokedProductionVariant"] == "challenger"
    with pytest.raises(runtime.exceptions.ValidationError):
        runtime.invoke_endpoint(EndpointName=name, Body=b"x", TargetVariant="nobody")
    control.update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[
            {"VariantName": "champion", "DesiredWeight": 0.0},
            {"VariantName": "challenger", "DesiredWeight": 1.0, "DesiredInstanceCount": 2},
        ],
    )
    variants = {v["VariantName"]: v for v in scripted.settled(name)["ProductionVariants"]}
    assert variants["champion"]["CurrentWeight"] == 0.0
    assert variants["challenger"]["DesiredInstanceCount"] == 2
    assert {said(runtime, name)["model"] for _ in range(10)} == {"b"}


def test_a_process_that_dies_is_started_again(runtime: Any, endpoint: str) -> None:
    before = said(runtime, endpoint)["pid"]
    with pytest.raises(runtime.exceptions.ModelError):
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"die")

    def pid() -> int | None:
        try:
            return int(said(runtime, endpoint)["pid"])
        except ClientError:
            return None

    assert wait_for(pid, lambda found: found is not None) != before


def test_deleting_an_endpoint_ends_its_process(control: Any, runtime: Any, endpoint: str) -> None:
    pid = said(runtime, endpoint)["pid"]
    control.delete_endpoint(EndpointName=endpoint)

    def is_known() -> bool:
        try:
            return bool(control.describe_endpoint(EndpointName=endpoint))
        except ClientError as error:
            assert "Could not find endpoint" in str(error)
            return False

    wait_for(is_known, lambda known: not known)
    assert not psutil.pid_exists(pid)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        control.delete_endpoint(EndpointName=endpoint)


def test_the_containers_lines_are_in_cloudwatch_logs(scripted: Scripted, runtime: Any, endpoint: str) -> None:
    said(runtime, endpoint)
    logs = scripted.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert stream["logStreamName"].startswith("AllTraffic/i-")

    def messages() -> list[str]:
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
        return [event["message"] for event in events]

    wait_for(messages, lambda lines: any("POST /invocations" in line for line in lines))


def test_names_are_taken_once_and_configs_must_exist(control: Any, endpoint: str) -> None:
    config = control.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    with pytest.raises(ClientError, match="Cannot create already existing endpoint") as refusal:
        control.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        control.create_endpoint(EndpointName=unique("endpoint"), EndpointConfigName="none")
    with pytest.raises(ClientError, match="Could not find endpoint"):
        control.update_endpoint(EndpointName="none", EndpointConfigName=config)


def test_retained_variant_properties_survive_an_update(scripted: Scripted, control: Any, endpoint: str) -> None:
    change = {"VariantName": "AllTraffic", "DesiredInstanceCount": 3}
    control.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=[change])
    scripted.settled(endpoint)
    fresh = scripted.config(AllTraffic=(scripted.model("better"), 1.0))
    control.update_endpoint(EndpointName=endpoint, EndpointConfigName=fresh, RetainAllVariantProperties=True)
    assert scripted.settled(endpoint)["ProductionVariants"][0]["DesiredInstanceCount"] == 3


def test_deleting_the_config_and_model_in_use_leaves_the_endpoint_serving(
    scripted: Scripted, control: Any, runtime: Any
) -> None:
    model = scripted.model("good")
    config = scripted.config(AllTraffic=(model, 1.0))
    name = unique("endpoint")
    control.create_endpoint(EndpointName=name, EndpointConfigName=config)
    scripted.settled(name)
    control.delete_endpoint_config(EndpointConfigName=config)
    control.delete_model(ModelName=model)
    assert said(runtime, name)["model"] == "good"


def test_an_inference_pipeline_feeds_each_container_with_the_answer_before(
    scripted: Scripted, control: Any, runtime: Any
) -> None:
    name = unique("model")
    containers = [
        {"Image": IMAGE, "ModelDataUrl": scripted.put_model({"answer.txt": answer})} for answer in (b"one", b"two")
    ]
    control.create_model(ModelName=name, ExecutionRoleArn=ROLE, Containers=containers)
    endpoint = deployed(scripted, control, AllTraffic=(name, 1.0))
    answer = said(runtime, endpoint)
    assert answer["model"] == "two"
    assert answer["content_type"] == "application/json"
    assert answer["bytes"] > 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_serving_process_outlives_the_server(tmp_path: Path, number: signal.Signals) -> None:
    scripted = start_scripted(tmp_path)
    name = deployed(scripted, scripted.client("sagemaker"), AllTraffic=(scripted.model("good"), 1.0))
    pid = said(scripted.client("sagemaker-runtime"), name)["pid"]
    assert psutil.pid_exists(pid)
    scripted.running.end(number)
    wait_for(lambda: psutil.pid_exists(pid), lambda exists: not exists)

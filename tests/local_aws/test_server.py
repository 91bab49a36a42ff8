"""The port: what answers, in which protocol, and how the command starts and ends."""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_aws.__main__ import main
from tests.support.local_aws import (
    BUCKET,
    ROLE,
    ROOT,
    TOY_CONTAINER,
    RunningLocalAws,
    eventually,
    finished_job,
    start_local_aws,
    training_request,
)
from tests.unit.docs.commands import shown

JOB_ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/x"


def test_health_tells_that_it_serves(local_aws: RunningLocalAws) -> None:
    with urllib.request.urlopen(f"{local_aws.url}/_local_aws/health") as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert json.load(answer) == {"status": "ok", "endpoint_url": local_aws.url, "jobs": 2}


def test_it_listens_on_loopback_alone(local_aws: RunningLocalAws) -> None:
    assert local_aws.url.startswith("http://127.0.0.1:")


def test_without_docker_the_option_for_it_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert main(["--port", "0", "--docker"]) == 2
    assert capsys.readouterr().err == (
        "local AWS: --docker needs Docker, which is not installed: install it, or start without --docker\n"
    )


def test_a_taken_port_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"local AWS: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another with --port (0: a free one)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--image", "toy"], "local AWS: image mapping 'toy' is not REPOSITORY=COMMAND"),
        (["--port", "0", "--state-dir", "/dev/null/x"], "local AWS: cannot keep state in /dev/null/x: Not a directory"),
        (["--host", "no.such.host.invalid", "--port", "0"], "local AWS: cannot listen on no.such.host.invalid:0"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--jobs", "0"], "'0' is not a positive number"), (["--port", "70000"], "'70000' is not a port: 0 to 65535")],
)
def test_numbers_out_of_range_are_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_it_ends_whichever_of_its_threads_takes_the_signal_and_removes_its_temporary_folder() -> None:
    (command,) = shown("python -m local_aws")
    server = start_local_aws(None)
    assert " ".join(command.words[1:]) in " ".join(psutil.Process(server.process.pid).cmdline())
    assert server.state_dir.is_dir()
    pid = server.process.pid
    newest = max(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())
    assert newest != pid

    assert ctypes.CDLL(None).tgkill(pid, newest, signal.SIGTERM) == 0

    try:
        assert server.process.wait(20) == 0
        assert not server.state_dir.exists()
    finally:
        server.process.kill()


def test_images_of_ones_own_run_the_commands_of_the_option_and_of_the_variable(tmp_path: Path) -> None:
    """As docs/reference/local-aws.md shows both, with a program that is there; the option wins."""
    (by_option,) = shown("python -m local_aws --image *")
    (by_variable,) = shown("LOCAL_AWS_IMAGES=* python -m local_aws")
    name, _, mappings = by_variable.variables[0].partition("=")
    toy = f"{sys.executable} {TOY_CONTAINER}"
    option, image = by_option.words[3:]
    assert image.partition("=")[0] in mappings

    running = start_local_aws(
        tmp_path,
        *(option, image.replace("/opt/venv/bin/python /srv/my_algorithm.py", toy)),
        environment={name: mappings.replace("./other", toy)},
    )
    try:
        running.client("s3").create_bucket(Bucket=BUCKET)
        running.client("s3").put_object(Bucket=BUCKET, Key="data/train/a.rec", Body=b"x")
        sagemaker = running.client("sagemaker")
        for repository in ("my-algorithm", "other"):
            sagemaker.create_training_job(**training_request(repository, f"{repository}:1"))
        jobs = [finished_job(sagemaker, repository) for repository in ("my-algorithm", "other")]
    finally:
        running.end()

    assert [job["TrainingJobStatus"] for job in jobs] == ["Completed"] * 2, jobs


def test_proxies_and_bundles_of_the_environment_do_not_disturb(tmp_path: Path) -> None:
    disturbing = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/no/such/bundle.pem",
        "AWS_PROFILE": "no-such-profile",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_CONFIG_FILE": "/no/such/config",
    }
    running = start_local_aws(tmp_path, environment=disturbing)
    try:
        running.client("s3").create_bucket(Bucket=BUCKET)
        running.client("s3").put_object(Bucket=BUCKET, Key="data/train/a.rec", Body=b"x")
        sagemaker = running.client("sagemaker")
        sagemaker.create_training_job(**training_request("undisturbed"))
        job = finished_job(sagemaker, "undisturbed")
        assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    finally:
        running.end()


UNIMPLEMENTED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("sagemaker", lambda c: c.create_hub(HubName="h", HubDescription="d"), "sagemaker:CreateHub"),
    ("sqs", lambda c: c.list_message_move_tasks(SourceArn="arn:aws:sqs:us-east-1:123456789012:q"), "sqs:ListMessage"),
    ("iam", lambda c: c.get_context_keys_for_custom_policy(PolicyInputList=["{}"]), "iam:GetContextKeysForCustom"),
    ("lambda", lambda c: c.list_code_signing_configs(), "lambda:ListCodeSigningConfigs"),
    ("cloudfront", lambda c: c.list_anycast_ip_lists(), "cloudfront:ListAnycastIpLists"),
    ("snowball", lambda c: c.list_jobs(), "snowball:ListJobs"),
    (
        "sagemaker-runtime",
        lambda c: c.invoke_endpoint_with_response_stream(EndpointName="e", Body=b"x"),
        "sagemaker:InvokeEndpointWithResponseStream",
    ),
]


@pytest.mark.parametrize(("service", "call", "action"), UNIMPLEMENTED, ids=[case[0] for case in UNIMPLEMENTED])
def test_what_nobody_implements_is_an_error_of_the_api(
    local_aws: RunningLocalAws, service: str, call: Callable[[Any], Any], action: str
) -> None:
    with pytest.raises(ClientError) as refused:
        call(local_aws.client(service))
    error, metadata = refused.value.response["Error"], refused.value.response["ResponseMetadata"]
    assert 400 <= metadata["HTTPStatusCode"] < 500
    assert metadata["RequestId"]
    assert error["Code"] == "NotImplemented"
    assert f"does not implement {action}" in error["Message"]


def test_an_unknown_action_and_a_broken_body_are_errors_of_the_api(local_aws: RunningLocalAws) -> None:
    for target, body, code in (
        ("SageMaker.NoSuchAction", b"{}", "UnknownOperationException"),
        ("SageMaker.ListTrainingJobs", b"{", "SerializationException"),
    ):
        request = urllib.request.Request(
            local_aws.url, data=body, headers={"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        with refused.value as answer:
            assert answer.code == 400
            assert answer.headers["x-amzn-RequestId"]
            assert json.load(answer)["__type"] == code


def test_every_answer_carries_a_request_id(local_aws: RunningLocalAws, s3: Any) -> None:
    for answer in (
        s3.put_object(Bucket=BUCKET, Key="some", Body=b"x"),
        s3.get_object(Bucket=BUCKET, Key="some"),
        local_aws.client("sagemaker").list_training_jobs(),
        local_aws.client("sts").get_caller_identity(),
        local_aws.client("sqs").list_queues(),
    ):
        metadata = answer["ResponseMetadata"]
        assert metadata.get("RequestId") or metadata["HTTPHeaders"]["x-amzn-requestid"]


def test_what_runs_nothing_is_left_to_moto(local_aws: RunningLocalAws) -> None:
    sagemaker = local_aws.client("sagemaker")
    arn = sagemaker.create_pipeline(
        PipelineName="p", RoleArn=ROLE, PipelineDefinition="{}", ClientRequestToken="x" * 32
    )["PipelineArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]


def test_simulated_policies_allow_everything_and_know_the_role(local_aws: RunningLocalAws) -> None:
    iam = local_aws.client("iam")
    arn = "arn:aws:iam::123456789012:role/service-role/from-nowhere"
    results = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=["s3:GetObject", "logs:PutLogEvents"])
    assert [(r["EvalActionName"], r["EvalDecision"]) for r in results["EvaluationResults"]] == [
        ("s3:GetObject", "allowed"),
        ("logs:PutLogEvents", "allowed"),
    ]
    role = iam.get_role(RoleName="from-nowhere")["Role"]
    assert role["Arn"] == arn
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}


def test_roles_nobody_named_stay_unknown(local_aws: RunningLocalAws) -> None:
    iam = local_aws.client("iam")
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName="nobody")


def test_accounts_have_their_own_jobs(local_aws: RunningLocalAws) -> None:
    def other(request: Any, **_: Any) -> None:
        request.headers["x-moto-account-id"] = "111122223333"

    sagemaker = local_aws.client("sagemaker")
    sagemaker.meta.events.register("before-sign", other)
    assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


STARTS_AND_WAITS = """
import sys
from tests.support.local_aws import start_local_aws

print(start_local_aws(None).process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_that_of_a_killed_test_process_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        server = psutil.Process(int(tests.stdout.readline()))
        tests.kill()
    eventually(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)

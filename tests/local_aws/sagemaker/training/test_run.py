"""Jobs that do not complete: stopped, failed, killed, out of time, without data or disk."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from local_aws.sagemaker.core import failures
from tests.local_aws.test_container_process import is_gone
from tests.support.local_aws import (
    BUCKET,
    TOY_IMAGE,
    RunningLocalAws,
    channel_of,
    eventually,
    finished_job,
    log_lines,
    start_local_aws,
    training_request,
)


def statuses(job: dict[str, Any]) -> list[str]:
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


def said(logs: Any, name: str, word: str) -> str:
    """Wait until a running job has logged a word, and return what comes after it."""

    def look() -> str | None:
        try:
            lines = log_lines(logs, name)
        except logs.exceptions.ResourceNotFoundException:
            return None
        return next((line.split()[1] for line in lines if line.startswith(word)), None)

    return str(eventually(look))


def test_a_stopped_job_keeps_what_it_saved(sagemaker: Any, logs: Any) -> None:
    wanted = {"seconds": "60", "save_on_sigterm": "yes"}
    sagemaker.create_training_job(**training_request("stopped", HyperParameters=wanted))
    said(logs, "stopped", "environment")
    sagemaker.stop_training_job(TrainingJobName="stopped")
    assert sagemaker.describe_training_job(TrainingJobName="stopped")["TrainingJobStatus"] in ("Stopping", "Stopped")
    job = finished_job(sagemaker, "stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert statuses(job) == ["Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped"]
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("stopped/output/model.tar.gz")
    with pytest.raises(sagemaker.exceptions.ClientError, match="training job is in status Stopped"):
        sagemaker.stop_training_job(TrainingJobName="stopped")


def test_a_job_is_stopped_while_it_waits_for_its_turn(sagemaker: Any) -> None:
    for name in ("first", "second", "waiting"):
        sagemaker.create_training_job(**training_request(name, HyperParameters={"seconds": "60"}))
    sagemaker.stop_training_job(TrainingJobName="waiting")
    job = finished_job(sagemaker, "waiting", seconds=5)
    assert statuses(job) == ["Starting", "Stopping", "Stopped"]
    assert "TrainingStartTime" not in job
    assert "ModelArtifacts" not in job
    for name in ("first", "second"):
        sagemaker.stop_training_job(TrainingJobName=name)
        finished_job(sagemaker, name)


def test_max_runtime_stops_a_job(sagemaker: Any) -> None:
    request = training_request(
        "too-long", HyperParameters={"seconds": "60"}, StoppingCondition={"MaxRuntimeInSeconds": 1}
    )
    sagemaker.create_training_job(**request)
    job = finished_job(sagemaker, "too-long")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_output_failure_is_the_reason(sagemaker: Any) -> None:
    wanted = {"failure": "Customer Error: epochs must be positive", "exit": "1", "output": "still kept"}
    sagemaker.create_training_job(**training_request("refusing", HyperParameters=wanted))
    job = finished_job(sagemaker, "refusing")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"] == "ClientError: Customer Error: epochs must be positive, exit code: 1"
    assert "ModelArtifacts" not in job


def test_a_long_failure_is_cut_to_what_the_api_allows(sagemaker: Any) -> None:
    sagemaker.create_training_job(**training_request("verbose", HyperParameters={"failure": "x" * 2000, "exit": "3"}))
    reason = finished_job(sagemaker, "verbose")["FailureReason"]
    assert reason.startswith("AlgorithmError: xxx")
    assert reason.endswith(", exit code: 3")
    assert len(reason) <= 1024


def test_a_silent_failure_shows_its_last_line(sagemaker: Any) -> None:
    sagemaker.create_training_job(**training_request("silent", HyperParameters={"exit": "9"}))
    reason = finished_job(sagemaker, "silent")["FailureReason"]
    assert "without writing output/failure; its last line: Epoch[0] Validation-accuracy=0.4, exit code: 9" in reason


def test_a_job_killed_from_outside_says_so_and_leaves_nothing(sagemaker: Any, logs: Any) -> None:
    wanted = {"seconds": "60", "grandchild": "yes"}
    sagemaker.create_training_job(**training_request("killed", HyperParameters=wanted))
    grandchild = int(said(logs, "killed", "grandchild"))
    os.kill(int(said(logs, "killed", "pid")), signal.SIGKILL)
    job = finished_job(sagemaker, "killed")
    assert job["TrainingJobStatus"] == "Failed"
    assert "killed from outside by SIGKILL" in job["FailureReason"]
    assert job["FailureReason"].endswith("exit code: 137")
    eventually(lambda: is_gone(grandchild))


def test_an_empty_prefix_is_refused_in_the_words_of_aws(sagemaker: Any) -> None:
    sagemaker.create_training_job(**training_request("no-data", channel="nothing/here/"))
    reason = finished_job(sagemaker, "no-data")["FailureReason"]
    assert reason.startswith(
        f'ClientError: No S3 objects found under S3 URL "s3://{BUCKET}/nothing/here/" given in input data source. '
        "Please ensure that the bucket exists in the selected region (us-east-1)"
    )


def test_an_unknown_bucket_is_named(sagemaker: Any) -> None:
    channel = channel_of("train", "x")
    channel["DataSource"]["S3DataSource"]["S3Uri"] = "s3://no-such-bucket/x"
    sagemaker.create_training_job(**training_request("no-bucket", InputDataConfig=[channel]))
    reason = finished_job(sagemaker, "no-bucket")["FailureReason"]
    assert 'permissions on bucket "no-such-bucket"' in reason
    assert "The specified bucket does not exist" in reason


def test_artifacts_without_a_bucket_fail_the_job(sagemaker: Any) -> None:
    request = training_request("no-output", OutputDataConfig={"S3OutputPath": "s3://no-such-bucket/jobs"})
    sagemaker.create_training_job(**request)
    reason = finished_job(sagemaker, "no-output")["FailureReason"]
    assert reason.startswith("ClientError: s3://no-such-bucket/jobs/no-output/output/model.tar.gz: ")
    assert "The specified bucket does not exist" in reason


def test_a_key_never_leaves_the_folder_of_its_channel(sagemaker: Any, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="escape/../../../outside.rec", Body=b"x")
    sagemaker.create_training_job(**training_request("escaping", channel="escape/"))
    job = finished_job(sagemaker, "escaping")
    assert job["TrainingJobStatus"] == "Failed"
    assert "is not a path inside a folder" in job["FailureReason"]


def test_a_missing_environment_says_how_to_make_it(tmp_path: Path) -> None:
    running = start_local_aws(tmp_path, "--image", "image-classification=/no/such/.venv-mxnet/bin/python -m algorithm")
    try:
        running.client("s3").create_bucket(Bucket=BUCKET)
        running.client("s3").put_object(Bucket=BUCKET, Key="data/train/a.rec", Body=b"x")
        sagemaker = running.client("sagemaker")
        sagemaker.create_training_job(**training_request("no-venv", image="image-classification:1"))
        reason = finished_job(sagemaker, "no-venv")["FailureReason"]
    finally:
        running.end()
    assert "/no/such/.venv-mxnet/bin/python could not be started: No such file or directory" in reason
    assert "make setup" in reason


def test_an_entry_point_of_the_request_runs_in_the_place_of_the_images(sagemaker: Any, s3: Any, logs: Any) -> None:
    algorithm = {
        "TrainingImage": TOY_IMAGE,
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["/bin/sh", "-c"],
        "ContainerArguments": ["ls /opt/ml/input/data/train && echo gone >/opt/ml/output/failure && exit 3"],
    }
    sagemaker.create_training_job(**training_request("entered", AlgorithmSpecification=algorithm))
    job = finished_job(sagemaker, "entered")

    assert log_lines(logs, "entered") == ["train.rec"]
    assert job["FailureReason"] == "AlgorithmError: gone, exit code: 3"
    assert job["AlgorithmSpecification"]["ContainerArguments"] == algorithm["ContainerArguments"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/state/input/data/train/train.rec")
    reason = failures.of_system(full, "Downloading", tmp_path)
    assert reason.startswith(
        "ClientError: the disk is full: No space left on device at /state/input/data/train/train.rec"
    )
    assert "--state-dir" in reason


def test_a_file_that_cannot_be_written_fails_the_job(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk: the copy of a channel ends in the middle of a file."""
    running = start_local_aws(tmp_path / "state", limit_file_size=1 << 20)
    try:
        running.client("s3").create_bucket(Bucket=BUCKET)
        running.client("s3").put_object(Bucket=BUCKET, Key="data/train/a.rec", Body=bytes(3 << 20))
        sagemaker = running.client("sagemaker")
        sagemaker.create_training_job(**training_request("full"))
        job = finished_job(sagemaker, "full")
    finally:
        running.end()
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: the disk is full")
    assert "in phase Downloading" in job["FailureReason"]


def test_every_child_ends_with_a_killed_server(tmp_path: Path) -> None:
    running = start_local_aws(tmp_path)
    pids = _running_job(running)
    running.end(signal.SIGKILL)
    for pid in pids:
        eventually(lambda pid=pid: is_gone(pid))


def test_every_child_ends_promptly_with_a_server_that_is_told_to_end(tmp_path: Path) -> None:
    running = start_local_aws(tmp_path)
    pids = _running_job(running)
    assert running.end(signal.SIGTERM, timeout=15) == 0
    for pid in pids:
        eventually(lambda pid=pid: is_gone(pid), seconds=2)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def _running_job(running: RunningLocalAws) -> list[int]:
    running.client("s3").create_bucket(Bucket=BUCKET)
    running.client("s3").put_object(Bucket=BUCKET, Key="data/train/a.rec", Body=b"x")
    wanted = {"seconds": "300", "grandchild": "yes", "ignore_sigterm": "yes"}
    running.client("sagemaker").create_training_job(**training_request("living", HyperParameters=wanted))
    logs = running.client("logs")
    said(logs, "living", "environment")
    return [int(said(logs, "living", "pid")), int(said(logs, "living", "grandchild"))]

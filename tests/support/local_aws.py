"""A local AWS as users run it: a process of its own, reached through boto3 and on its own paths."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
TOY_CONTAINER = Path(__file__).with_name("toy_container.py")
TOY_IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/toy:1"
ALGORITHM_IMAGE = "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1"
ROLE = "arn:aws:iam::123456789012:role/training"
BUCKET = "local-aws-tests"
ALLOWED_NAME = "local-aws.test"


@dataclass
class RunningLocalAws:
    """A started server; `client` makes boto3 clients for it."""

    url: str
    state_dir: Path
    process: subprocess.Popen[str]

    def client(self, service: str, region: str = "us-east-1") -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="tests",
            aws_secret_access_key="tests",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def end(self, number: int = signal.SIGTERM, timeout: float = 20) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout)


def start_local_aws(
    state_dir: Path | None,
    *arguments: str,
    environment: dict[str, str] | None = None,
    limit_file_size: int | None = None,
    prefix: Sequence[str] = (),
) -> RunningLocalAws:
    """Start `python -m local_aws` on a free port and return when it says that it is ready.

    Without a `state_dir` the server makes a temporary one. On Linux it ends with the process that started it, also if
    that is killed.
    `prefix` is a command that becomes the server, as `env` does.
    """
    command = [sys.executable, "-m", "local_aws", "--port", "0"]
    command += [] if state_dir is None else ["--state-dir", str(state_dir)]
    command += ["--image", f"toy={sys.executable} {TOY_CONTAINER}", *arguments]
    if limit_file_size is not None:
        command = ["prlimit", f"--fsize={limit_file_size}", *command]
    ending_with_parent = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    process = subprocess.Popen(
        [*ending_with_parent, *prefix, *command],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    ready = re.search(r"ready at (http://\S+) \(state in (.*)\)", line)
    assert ready, f"the local AWS did not start: {line!r}"
    return RunningLocalAws(ready[1], Path(ready[2]), process)


def eventually(look: Callable[[], Any], seconds: float = 30, *, pause: float = 0.05) -> Any:
    """Look again and again, with a pause between two looks, until something is seen; return it."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not seen within {seconds} s"
        time.sleep(pause)


def training_request(name: str, image: str = TOY_IMAGE, channel: str = "data/train/", **changes: Any) -> dict[str, Any]:
    """A CreateTrainingJob request with one channel; `changes` replace its fields, hyperparameters are strings."""
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "InputDataConfig": [channel_of("train", channel)],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/jobs"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    return {**request, **changes}


def channel_of(name: str, prefix: str, **changes: Any) -> dict[str, Any]:
    """A channel that holds every object below a prefix of the tests' bucket."""
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **changes}


def finished_job(sagemaker: Any, name: str, seconds: float = 30) -> dict[str, Any]:
    """Wait until a training job has ended, and describe it."""

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
        return job if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    job: dict[str, Any] = eventually(look, seconds)
    return job


def log_lines(logs: Any, job: str) -> list[str]:
    """The lines of a job in CloudWatch Logs."""
    group = "/aws/sagemaker/TrainingJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")["logStreams"]
    return [
        event["message"]
        for stream in streams
        for event in logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)[
            "events"
        ]
    ]


def ask(url: str, path: str, document: dict[str, Any] | None = None) -> Any:
    """Send a document to `/_local_aws/PATH`, or read it; raises HTTPError for what the server refuses."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(
        f"{url}/_local_aws/{path}", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def interrupt(url: str, job: str) -> None:
    """Take its spot instance from a training job."""
    ask(url, f"training-jobs/{job}/interruption", {})


@contextmanager
def scripted_local_aws(state_dir: Path, *, jobs: int) -> Iterator[RunningLocalAws]:
    """A local AWS with the few-line containers `toy` and `scripted`, and a bucket with a small training file."""
    scripted = f"scripted={sys.executable} {ROOT}/tests/local_aws/sagemaker/scripted_algorithm.py"
    running = start_local_aws(state_dir, "--jobs", str(jobs), "--image", scripted)
    try:
        s3 = running.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="data/train/train.rec", Body=b"records")
        yield running
    finally:
        running.end()


def calls(url: str) -> dict[str, int]:
    """How often each action was called since the server started, by `service:Action`."""
    counts: dict[str, int] = ask(url, "calls")
    return counts

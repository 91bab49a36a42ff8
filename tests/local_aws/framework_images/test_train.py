"""Scripts in AWS's PyTorch training image: the real toolkit runs them, in real processes."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tarfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import tests.support.airflow_home  # noqa: F401  (before anything imports airflow)
from image_classification.operators.job_failure import job_failure, last_log_lines
from include.sagemaker.api import TRAINING
from include.sagemaker.job_results import JobResult
from include.training.best_model import job_flaws
from local_aws.container_images import ContainerImages
from local_aws.container_process import ContainerProcess
from local_aws.sagemaker.core.container_files import write_training_inputs
from tests.local_aws.framework_images.conftest import JOB_SECONDS, TRAINING_IMAGE, Scripts
from tests.support.local_aws import (
    BUCKET,
    ROLE,
    ROOT,
    channel_of,
    eventually,
    finished_job,
    log_lines,
    training_request,
)
from tests.support.required_wheel import WHEEL, wheel

METRICS = [{"Name": "loss", "Regex": r"loss=(\S+)"}]
LEARNS = """
import argparse, json, os, sys
from pathlib import Path

import required

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--lr", type=float)
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
given = parser.parse_args()
checkpoint = Path("/opt/ml/checkpoints/epoch")
for epoch in range(int(checkpoint.read_text()), given.epochs):
    print(f"epoch {epoch} loss={given.lr / (epoch + 1)}")
    checkpoint.write_text(str(epoch + 1))
channel = Path(os.environ["SM_CHANNEL_TRAIN"])
Path(given.model_dir, "weights").write_bytes((channel / "train.rec").read_bytes())
seen = {"hps": json.loads(os.environ["SM_HPS"]), "required": required.__file__}
seen |= {"channel": str(channel), "python": sys.prefix, "spins": os.environ["GOMP_SPINCOUNT"]}
Path(os.environ["SM_OUTPUT_DATA_DIR"], "seen.json").write_text(json.dumps(seen))
"""


def files_of(s3: Any, uri: str) -> dict[str, bytes]:
    """The files of an archive in S3."""
    body = s3.get_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]


def test_a_script_trains_with_what_it_requires_and_leaves_model_output_checkpoints_and_metrics(
    scripts: Scripts, s3: Any
) -> None:
    checkpoints = f"checkpoints/{uuid4().hex}"
    s3.put_object(Bucket=BUCKET, Key=f"{checkpoints}/epoch", Body=b"1")
    job = scripts.run(
        LEARNS,
        files={"requirements.txt": f"./{WHEEL}\n".encode(), WHEEL: wheel()},
        values={"epochs": 3, "lr": 0.6, "sagemaker_container_log_level": 20},
        AlgorithmSpecification={
            "TrainingImage": TRAINING_IMAGE, "TrainingInputMode": "File", "MetricDefinitions": METRICS
        },
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/{checkpoints}"},
    )  # fmt: skip

    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]} == {
        "loss": pytest.approx(0.2)
    }
    artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert files_of(s3, artifact) == {"weights": b"records"}
    seen = json.loads(files_of(s3, artifact.replace("model.tar.gz", "output.tar.gz"))["seen.json"])
    assert seen["hps"] == {"epochs": 3, "lr": 0.6}
    assert seen["channel"] == "/opt/ml/input/data/train"
    assert seen["spins"] == "2000", "threads that wait for each other leave the processors to others"
    assert s3.get_object(Bucket=BUCKET, Key=f"{checkpoints}/epoch")["Body"].read() == b"3"
    # What it required is in the job's own environment, and went with it.
    assert seen["python"] == "/opt/ml/environment"
    assert seen["required"].startswith("/opt/ml/environment/")
    assert not list((ROOT / ".venv-pytorch").glob("lib/*/site-packages/required*"))


def told_by_airflow(logs: Any, job: dict[str, Any]) -> str:
    """The error of the task that waited for a failed job."""
    name = job["TrainingJobName"]
    return str(job_failure(TRAINING, name, job, last_log_lines(logs, TRAINING, name)))


def test_a_script_that_crashes_fails_with_the_toolkits_words(scripts: Scripts, logs: Any) -> None:
    job = scripts.run("raise ValueError('labels.json has no classes')")

    assert job["TrainingJobStatus"] == "Failed"
    reason = job["FailureReason"]
    assert reason.startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage ")
    assert "ValueError" in reason
    assert "labels.json has no classes" in reason
    assert '\nCommand "/opt/ml/environment/bin/python' in reason
    assert reason.endswith('train.py", exit code: 1')
    assert "Correct the script, and clear the task." in told_by_airflow(logs, job)


def test_requirements_that_cannot_be_installed_fail_the_job_and_pips_words_are_in_the_log(
    scripts: Scripts, sagemaker: Any, logs: Any
) -> None:
    """Without a network the source comes through a channel, as the SDK sends it, and nothing from a package index."""
    archive = scripts.put({"train.py": b"print('never')", "requirements.txt": b"no-such-package-of-ours==1.0\n"})
    name = f"isolated-{uuid4().hex[:8]}"
    source = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": "/opt/ml/input/data/code/sourcedir.tar.gz",
    }
    code = channel_of("code", archive.removeprefix(f"s3://{BUCKET}/").removesuffix("sourcedir.tar.gz"))
    sagemaker.create_training_job(
        **training_request(
            name, TRAINING_IMAGE, HyperParameters=source, EnableNetworkIsolation=True, InputDataConfig=[code]
        )
    )
    job = finished_job(sagemaker, name, JOB_SECONDS)

    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: InstallRequirementsError:\nExitCode 1\nErrorMessage ")
    lines = log_lines(logs, name)
    assert any("No matching distribution found for no-such-package-of-ours==1.0" in line for line in lines)
    assert "never" not in lines
    assert "pip could not install requirements.txt." in told_by_airflow(logs, job)
    assert "No matching distribution found for no-such-package-of-ours==1.0" in told_by_airflow(logs, job)


SAVES_ON_SIGTERM = """
import signal, subprocess, sys, time
from pathlib import Path

worker = subprocess.Popen(["sleep", "300"])

def save(*_):
    print("saving")
    Path("/opt/ml/model/weights").write_text(f"saved on SIGTERM, worker: {worker.poll()}")
    worker.kill()
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
print("ready")
time.sleep(300)
"""


def test_a_script_that_is_stopped_saves_its_model_while_its_workers_live(
    scripts: Scripts, sagemaker: Any, s3: Any, logs: Any
) -> None:
    name = scripts.start(SAVES_ON_SIGTERM)
    eventually(lambda: "ready" in _lines_so_far(logs, name), JOB_SECONDS)
    sagemaker.stop_training_job(TrainingJobName=name)
    job = scripts.finished(name)

    assert job["TrainingJobStatus"] == "Stopped"
    assert files_of(s3, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"weights": b"saved on SIGTERM, worker: None"}
    assert "saving" in log_lines(logs, name)


def _lines_so_far(logs: Any, name: str) -> list[str]:
    try:
        return log_lines(logs, name)
    except logs.exceptions.ResourceNotFoundException:
        return []


HANGS = """
import signal, subprocess, time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(f"grandchild {subprocess.Popen(['sleep', '300'], start_new_session=True).pid}")
time.sleep(300)
"""


def test_a_script_that_ignores_sigterm_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    write_training_inputs(tmp_path, training_request("hangs", HyperParameters={"sagemaker_program": "train.py"}))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(HANGS)
    lines: list[str] = []
    command = ContainerImages({}).command(TRAINING_IMAGE, "train")
    environment = {
        "PATH": os.environ["PATH"], "SAGEMAKER_BASE_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1",
        "AWS_REGION": "us-east-1",
    }  # fmt: skip
    process = ContainerProcess.start(command.words, env=environment, cwd=command.folder, on_line=lines.append)
    grandchild = eventually(lambda: [line for line in lines if line.startswith("grandchild")], JOB_SECONDS)[0].split()[
        1
    ]

    process.terminate(0.5)

    assert process.wait(30) == -9
    assert not Path("/proc", grandchild).exists() or sys.platform != "linux"


def test_a_tuning_job_tunes_a_script_and_one_that_leaves_nothing_is_named(
    scripts: Scripts, sagemaker: Any, s3: Any
) -> None:
    script = "import sys; print('accuracy=0.5' if 'talk' in sys.argv else 'nothing')"
    objective = {"Name": "validation:accuracy", "Regex": r"accuracy=(\S+)"}
    name = f"tuned-{uuid4().hex[:8]}"
    sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig={
            "Strategy": "Grid",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:accuracy"},
            "ResourceLimits": {"MaxParallelTrainingJobs": 2, "MaxNumberOfTrainingJobs": 2},
            "ParameterRanges": {"CategoricalParameterRanges": [{"Name": "mode", "Values": ['"talk"', '"still"']}]},
        },
        TrainingJobDefinition={
            "AlgorithmSpecification": {
                "TrainingImage": TRAINING_IMAGE, "TrainingInputMode": "File", "MetricDefinitions": [objective]
            },
            "RoleArn": ROLE,
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/tuning"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            "StaticHyperParameters": scripts.hyperparameters(script),
        },
    )  # fmt: skip
    described = eventually(lambda: _tuned(sagemaker, name), 2 * JOB_SECONDS)

    assert described["HyperParameterTuningJobStatus"] == "Completed", described.get("FailureReason")
    assert described["TrainingJobStatusCounters"]["Completed"] == 2
    assert described["ObjectiveStatusCounters"] == {"Succeeded": 1, "Pending": 0, "Failed": 1}
    best = described["BestTrainingJob"]
    assert best["TunedHyperParameters"] == {"mode": '"talk"'}
    # A script that writes no model completes, with an empty archive.
    listed = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    (still,) = (
        job["TrainingJobName"]
        for job in listed["TrainingJobSummaries"]
        if job["TrainingJobName"] != best["TrainingJobName"]
    )
    described = sagemaker.describe_training_job(TrainingJobName=still)
    model, metric = job_flaws(s3, described, JobResult.of_training_job(described))
    assert re.fullmatch(r"train\.py of s3://\S+ left no model in /opt/ml/model: s3://\S+ has no file\. .+", model)
    assert "printed no validation:accuracy: the regular expression accuracy=(\\S+) finds" in metric


def _tuned(sagemaker: Any, name: str) -> dict[str, Any] | None:
    described: dict[str, Any] = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    return None if described["HyperParameterTuningJobStatus"] == "InProgress" else described

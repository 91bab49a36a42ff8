from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.support.archives import tar_of
from tests.support.local_aws import BUCKET, finished_job, training_request

TRAINING_IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8.0-cpu-py312-ubuntu22.04-sagemaker"
INFERENCE_IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
JOB_SECONDS = 300.0


@dataclass(frozen=True)
class Scripts:
    """Script mode as the SageMaker SDK v2 asks for it: a sourcedir.tar.gz in S3, named by hyperparameters."""

    sagemaker: Any
    s3: Any

    def put(self, files: Mapping[str, bytes], name: str = "sourcedir.tar.gz") -> str:
        """Put an archive of files in S3; return its address."""
        key = f"{uuid4().hex}/{name}"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=tar_of(files))
        return f"s3://{BUCKET}/{key}"

    def hyperparameters(self, script: str, files: Mapping[str, bytes] | None = None, **values: Any) -> dict[str, str]:
        """The hyperparameters by which the toolkit finds a script, and those of the script."""
        source = self.put({"train.py": script.encode(), **(files or {})})
        given = {"sagemaker_program": "train.py", "sagemaker_submit_directory": source, **values}
        return {name: json.dumps(value) for name, value in given.items()}

    def start(self, script: str, *, files: Mapping[str, bytes] | None = None, **changes: Any) -> str:
        """Start a training job of a script; return its name."""
        name = f"script-{uuid4().hex[:8]}"
        values = self.hyperparameters(script, files, **changes.pop("values", {}))
        self.sagemaker.create_training_job(
            **training_request(name, TRAINING_IMAGE, HyperParameters=values, **changes),
        )
        return name

    def finished(self, name: str) -> dict[str, Any]:
        return finished_job(self.sagemaker, name, JOB_SECONDS)

    def run(self, script: str, **more: Any) -> dict[str, Any]:
        """Run a training job of a script to its end, and describe it."""
        return self.finished(self.start(script, **more))


@pytest.fixture
def scripts(sagemaker: Any, s3: Any) -> Scripts:
    return Scripts(sagemaker, s3)

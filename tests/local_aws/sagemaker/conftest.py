from __future__ import annotations

import io
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_aws import ROLE, RunningLocalAws, eventually, start_local_aws

ALGORITHM = Path(__file__).with_name("scripted_algorithm.py")
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scripted:1"
BUCKET = "models-and-images"
DEADLINE_SECONDS = 90.0


@dataclass(frozen=True)
class Scripted:
    """A running local AWS whose image `scripted` is the few-line container of this folder."""

    running: RunningLocalAws

    @property
    def state_dir(self) -> Path:
        return self.running.state_dir

    def client(self, service: str) -> Any:
        return self.running.client(service)

    def put_model(self, files: Mapping[str, bytes]) -> str:
        """Put a model.tar.gz in S3 and return its URI."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return self.put("model.tar.gz", packed.getvalue())

    def put(self, name: str, content: bytes) -> str:
        key = f"{uuid.uuid4().hex}/{name}"
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    def model(self, answer: str = "good", **changes: Any) -> str:
        """Create a model that answers with `answer` and return its name."""
        name = unique("model")
        container = {"Image": IMAGE, "ModelDataUrl": self.put_model({"answer.txt": answer.encode()}), **changes}
        self.client("sagemaker").create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        return name

    def broken_model(self) -> str:
        """Create a model whose container ends before it answers /ping."""
        return self.model(ModelDataUrl=self.put_model({"broken.txt": b""}))

    def config(self, **weights: tuple[str, float]) -> str:
        """Create an endpoint configuration from variant=(model, weight) and return its name."""
        name = unique("config")
        variants = [
            {
                "VariantName": variant,
                "ModelName": model,
                "InitialInstanceCount": 1,
                "InstanceType": "ml.m5.large",
                "InitialVariantWeight": weight,
            }
            for variant, (model, weight) in weights.items()
        ]
        self.client("sagemaker").create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
        return name

    def settled(self, endpoint: str) -> dict[str, Any]:
        """Wait until an endpoint is neither Creating nor Updating and return its description."""
        describe = self.client("sagemaker").describe_endpoint
        return wait_for(
            lambda: describe(EndpointName=endpoint),
            lambda said: said["EndpointStatus"] in ("InService", "Failed"),
        )


def unique(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:10]}"


def wait_for(ask: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """Ask until the answer holds, and return it."""
    answer: list[Any] = eventually(lambda: [said] if holds(said := ask()) else [], DEADLINE_SECONDS)
    return answer[0]


def start_scripted(state_dir: Path) -> Scripted:
    """Start a local AWS that runs four jobs at once."""
    image = f"scripted={sys.executable} {ALGORITHM}"
    scripted = Scripted(start_local_aws(state_dir, "--jobs", "4", "--image", image))
    scripted.client("s3").create_bucket(Bucket=BUCKET)
    return scripted


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    """A local AWS of this test process with the few-line container."""
    scripted = start_scripted(tmp_path_factory.mktemp("scripted"))
    try:
        yield scripted
    finally:
        scripted.running.end()


@pytest.fixture(scope="session")
def control(scripted: Scripted) -> Any:
    """A SageMaker client."""
    return scripted.client("sagemaker")


@pytest.fixture(scope="session")
def runtime(scripted: Scripted) -> Any:
    """A SageMaker Runtime client."""
    return scripted.client("sagemaker-runtime")

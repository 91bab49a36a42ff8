"""The SageMaker SDKs v2 and v3, unmodified and in environments of their own, train, tune and serve on the local AWS."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_aws import RunningLocalAws, start_local_aws
from tests.support.squares import jpeg, records

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    running = start_local_aws(tmp_path_factory.mktemp("local_aws"))
    yield running
    running.end()


@pytest.fixture(scope="module")
def bucket_and_image(local_aws: RunningLocalAws, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A bucket with a train and a validation channel, and a bright picture to predict."""
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="sdk-clients")
    s3.put_object(Bucket="sdk-clients", Key="train/train.rec", Body=records(32, seed=0, side=32))
    s3.put_object(Bucket="sdk-clients", Key="validation/validation.rec", Body=records(16, seed=1000, side=32))
    image = tmp_path_factory.mktemp("image") / "bright.jpg"
    image.write_bytes(jpeg(1, seed=5000, side=32))
    return "sdk-clients", image


def run_client(version: str, url: str, bucket_and_image: tuple[str, Path], home: Path) -> tuple[dict[str, Any], str]:
    """Run a version's script in its own environment; return its result and all it printed."""
    python = ROOT / f".venv-sdk-{version}" / "bin" / "python"
    assert python.exists(), f"{python} is missing: `make test` makes its environment"
    result = home / "result.json"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON", "AIRFLOW"))}
    finished = subprocess.run(
        [python, SCRIPTS / f"sdk_{version}_chain.py", *bucket_and_image, result],
        env=clean
        | {
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "HOME": str(home),
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    printed = finished.stdout + finished.stderr
    assert finished.returncode == 0, printed[-6000:]
    return json.loads(result.read_text()), printed


def test_the_notebooks_on_sdk_v2_train_tune_deploy_and_predict(
    local_aws: RunningLocalAws, bucket_and_image: tuple[str, Path], tmp_path: Path
) -> None:
    result, printed = run_client("v2", local_aws.url, bucket_and_image, tmp_path)

    assert {"train:accuracy", "validation:accuracy"} <= set(result["metrics"])
    # One epoch, so the average of a minute is the final value.
    assert {name: values[-1] for name, values in result["curve"].items()} == pytest.approx(result["final"])
    assert "Epoch[0] Validation-accuracy=" in printed
    assert result["best_artifact"].endswith("/output/model.tar.gz")
    assert result["best_training_job"] in result["best_artifact"]
    assert result["tuned"] == ["Completed", "Completed"]
    assert sum(result["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert result["endpoint"] not in {
        e["EndpointName"] for e in local_aws.client("sagemaker").list_endpoints()["Endpoints"]
    }


def test_sdk_v3_trains_tunes_deploys_and_predicts(
    local_aws: RunningLocalAws, bucket_and_image: tuple[str, Path], tmp_path: Path
) -> None:
    result, _ = run_client("v3", local_aws.url, bucket_and_image, tmp_path)

    assert result["status"] == "Completed"
    assert {"train:accuracy", "validation:accuracy"} <= set(result["metrics"])
    assert result["best_training_job"]
    assert sum(result["probabilities"]) == pytest.approx(1, abs=1e-4)

"""The SageMaker SDKs v2 and v3, unmodified and in environments of their own, train, tune and serve on the local AWS."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import dataset_version
from tests.support.local_aws import RunningLocalAws, log_lines, start_local_aws
from tests.support.required_wheel import WHEEL, wheel
from tests.support.sdk import ROOT, SDK_V2, SDK_V3, run_script
from tests.support.squares import jpeg, records
from tests.unit.docs.commands import shown

BUCKET = "sdk-clients"
VERSION = f"s3://{BUCKET}/datasets/squares/20260102T030405Z-0a1b2c3d/"


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    running = start_local_aws(tmp_path_factory.mktemp("local_aws"))
    yield running
    running.end()


@pytest.fixture(scope="module")
def picture(local_aws: RunningLocalAws, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright picture to predict; a bucket has channels of dark and bright ones, and a dataset version of them."""
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    document = dataset_version(
        name="squares",
        uri=VERSION,
        labels=["dark", "bright"],
        counts={"train": 32, "validation": 16, "test": 0},
    ).model_dump_json()
    version = VERSION.removeprefix(f"s3://{BUCKET}/")
    s3.put_object(Bucket=BUCKET, Key=f"{version}dataset.json", Body=document.encode())
    for prefix in ("", version):
        for channel, content in (("train", records(32, seed=0, side=32)), ("validation", records(16, 1000, 32))):
            s3.put_object(Bucket=BUCKET, Key=f"{prefix}{channel}/{channel}.rec", Body=content)
    bright = tmp_path_factory.mktemp("image") / "bright.jpg"
    bright.write_bytes(jpeg(1, seed=5000, side=32))
    return bright


def test_the_notebooks_on_sdk_v2_train_tune_deploy_and_predict(
    local_aws: RunningLocalAws, picture: Path, tmp_path: Path
) -> None:
    script, written = Path(__file__).with_name("sdk_v2_chain.py"), tmp_path / "result.json"
    printed = run_script(SDK_V2, script, BUCKET, picture, written, url=local_aws.url, home=tmp_path)
    result: dict[str, Any] = json.loads(written.read_text())

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


def test_the_example_on_sdk_v3_trains_tunes_deploys_and_predicts(
    local_aws: RunningLocalAws, picture: Path, tmp_path: Path
) -> None:
    role = "arn:aws:iam::123456789012:role/image-classification-sagemaker"
    small = ("--epochs", 1, "--tuning-jobs", 2)
    (command,) = shown(".venv-sagemaker/bin/python examples/train_tune_deploy.py *")
    given = {"s3://BUCKET/datasets/NAME/VERSION/": VERSION, "picture.jpg": picture, "ROLE-ARN": role}
    python, script, *words = command.words
    assert given.keys() < {*words}
    arguments = [*(given.get(word, word) for word in words), *small]

    printed = run_script(python.partition("/")[0], ROOT / script, *arguments, url=local_aws.url, home=tmp_path)
    (document,) = re.findall(r"^\{$.*?^\}$", printed, re.MULTILINE | re.DOTALL)
    result: dict[str, Any] = json.loads(document)

    sagemaker = local_aws.client("sagemaker")
    jobs = [
        sagemaker.describe_training_job(TrainingJobName=result[name]) for name in ("training_job", "best_tuning_job")
    ]
    for job in jobs:
        assert job["TrainingJobStatus"] == "Completed"
        metrics = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}
        assert {"train:accuracy", "validation:accuracy"} <= set(metrics)
        assert metrics["validation:accuracy"] <= result["validation:accuracy"]
    assert result["deployed"] in {result["training_job"], result["best_tuning_job"]}
    assert result["artifact"].endswith(f"/{result['deployed']}/output/model.tar.gz")
    probabilities = result["predictions"][str(picture)]
    assert list(probabilities) == ["dark", "bright"]
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert result["deployed"] not in {e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]}


SCRIPT = """
import argparse, json, os, torch

import required

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--lr", type=float)
given = parser.parse_args()
print(f"loss={given.lr / given.epochs}")
with open("/opt/ml/model/model.json", "w") as model:
    json.dump({"epochs": given.epochs, "channel": os.environ["SM_CHANNEL_TRAIN"], "required": required.__file__}, model)
"""


def test_a_script_through_the_model_trainer_of_sdk_v3_trains_with_what_it_requires(
    local_aws: RunningLocalAws, tmp_path: Path
) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="scripts")
    s3.put_object(Bucket="scripts", Key="train/data", Body=b"data")
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text(SCRIPT)
    (source / "requirements.txt").write_text(f"./{WHEEL}\n")
    (source / WHEEL).write_bytes(wheel())
    script, written = Path(__file__).with_name("sdk_v3_source_code.py"), tmp_path / "result.json"
    run_script(SDK_V3, script, written, source, "scripts", url=local_aws.url, home=tmp_path)
    result: dict[str, Any] = json.loads(written.read_text())

    assert result["status"] == "Completed"
    bucket, _, key = result["artifact"].removeprefix("s3://").partition("/")
    packed = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        member = archive.extractfile("model.json")
        assert member is not None
        model = json.load(member)
    assert model["epochs"] == 2
    assert model["channel"] == "/opt/ml/input/data/train"
    assert model["required"].startswith("/opt/ml/environment/")
    assert "loss=0.25" in log_lines(local_aws.client("logs"), result["name"])


INFERENCE = """
import json, os

def model_fn(model_dir):
    with open(os.path.join(model_dir, "model.json")) as model:
        return json.load(model)["epochs"]

def predict_fn(numbers, epochs):
    return [float(number) * epochs for number in numbers]
"""


def test_script_mode_of_sdk_v2_trains_deploys_and_predicts(local_aws: RunningLocalAws, tmp_path: Path) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="notebooks")
    s3.put_object(Bucket="notebooks", Key="train/data", Body=b"data")
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text(SCRIPT.replace("import required", "import json as required"))
    (source / "inference.py").write_text(INFERENCE)
    script, written = Path(__file__).with_name("sdk_v2_script_mode.py"), tmp_path / "result.json"
    run_script(SDK_V2, script, written, source, "notebooks", url=local_aws.url, home=tmp_path)
    result: dict[str, Any] = json.loads(written.read_text())

    assert result["answer"] == [2.0, 4.0]
    job = local_aws.client("sagemaker").describe_training_job(TrainingJobName=result["job"])
    assert {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]} == {"loss": 0.25}

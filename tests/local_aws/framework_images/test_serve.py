"""Scripts in AWS's PyTorch inference image: the toolkit's own handler answers, behind endpoints and in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.framework_images.conftest import INFERENCE_IMAGE, TRAINING_IMAGE, Scripts
from tests.support.local_aws import BUCKET, ROLE, eventually

SECONDS = 300.0
DOUBLES = """
import json, os, torch

def model_fn(model_dir):
    layer = torch.nn.Linear(1, 1, bias=False)
    weights = json.loads(open(os.path.join(model_dir, "weights.json")).read())
    layer.load_state_dict({"weight": torch.tensor([[float(weights["weight"])]])})
    return layer.eval()

def input_fn(body, content_type):
    if content_type != "application/x-numbers":
        raise ValueError(f"cannot read {content_type}")
    return torch.tensor([[float(number)] for number in body.split()])

def predict_fn(numbers, layer):
    with torch.no_grad():
        return layer(numbers)

def output_fn(prediction, accept):
    return json.dumps({"doubled": prediction[:, 0].tolist()}), accept
"""


def serving(sagemaker: Any, artifact: str, **environment: str) -> str:
    """Create a model of an archive in S3 in the inference image; return its name."""
    name = f"model-{uuid4().hex[:8]}"
    container = {"Image": INFERENCE_IMAGE, "ModelDataUrl": artifact, "Environment": environment}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    return name


def create_model(scripts: Scripts, files: dict[str, bytes], **environment: str) -> str:
    return serving(scripts.sagemaker, scripts.put(files, "model.tar.gz"), **environment)


def create_endpoint(sagemaker: Any, model: str) -> dict[str, Any]:
    """Deploy a model under its own name; describe the endpoint when it has settled."""
    variant = {"VariantName": "all", "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName=model, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=model, EndpointConfigName=model)

    def look() -> dict[str, Any] | None:
        described: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=model)
        return None if described["EndpointStatus"] == "Creating" else described

    settled: dict[str, Any] = eventually(look, SECONDS)
    return settled


@pytest.fixture
def doubling(scripts: Scripts) -> Iterator[str]:
    """A model whose script is called predictor.py, as SDK v2 names an entry point of another name."""
    files = {"weights.json": b'{"weight": 2}', "code/predictor.py": DOUBLES.encode()}
    yield create_model(
        scripts, files, SAGEMAKER_PROGRAM="predictor.py", SAGEMAKER_SUBMIT_DIRECTORY="/opt/ml/model/code"
    )


def test_a_script_answers_an_endpoint_and_a_batch_and_its_errors_are_the_callers(
    scripts: Scripts, sagemaker: Any, s3: Any, local_aws: Any, doubling: str
) -> None:
    endpoint = create_endpoint(sagemaker, doubling)
    assert endpoint["EndpointStatus"] == "InService", endpoint.get("FailureReason")
    runtime = local_aws.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(EndpointName=doubling, Body=b"1 2.5", ContentType="application/x-numbers")
    assert json.loads(answer["Body"].read()) == {"doubled": [2.0, 5.0]}
    assert answer["ContentType"] == "application/json"
    with pytest.raises(ClientError, match=r"\(500\).*cannot read image/gif"):
        runtime.invoke_endpoint(EndpointName=doubling, Body=b"GIF", ContentType="image/gif")
    sagemaker.delete_endpoint(EndpointName=doubling)

    prefix = uuid4().hex
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/in/numbers", Body=b"21")
    sagemaker.create_transform_job(
        TransformJobName=doubling,
        ModelName=doubling,
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}/in/"}},
            "ContentType": "application/x-numbers",
        },
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/{prefix}/out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    job = eventually(lambda: _transformed(sagemaker, doubling), SECONDS)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    out = s3.get_object(Bucket=BUCKET, Key=f"{prefix}/out/numbers.out")["Body"].read()
    assert json.loads(out) == {"doubled": [42.0]}


def _transformed(sagemaker: Any, name: str) -> dict[str, Any] | None:
    described: dict[str, Any] = sagemaker.describe_transform_job(TransformJobName=name)
    return None if described["TransformJobStatus"] == "InProgress" else described


def test_a_script_that_cannot_load_its_model_fails_the_endpoint_with_its_error(
    scripts: Scripts, sagemaker: Any
) -> None:
    script = "def model_fn(model_dir):\n    raise RuntimeError('model.pt has 10 classes, classes.json 11')\n"
    model = create_model(scripts, {"code/inference.py": script.encode()}, SAGEMAKER_SUBMIT_DIRECTORY="s3://b/code")
    endpoint = create_endpoint(sagemaker, model)

    assert endpoint["EndpointStatus"] == "Failed"
    assert "model.pt has 10 classes, classes.json 11" in endpoint["FailureReason"]
    sagemaker.delete_endpoint(EndpointName=model)


def test_a_model_whose_requirements_cannot_be_installed_fails_the_endpoint_with_pips_words(
    scripts: Scripts, sagemaker: Any
) -> None:
    requirements = b"--no-index\nno-such-package-of-ours==1.0\n"
    endpoint = create_endpoint(
        sagemaker, create_model(scripts, {"code/inference.py": b"", "code/requirements.txt": requirements})
    )

    assert endpoint["EndpointStatus"] == "Failed"
    assert "No matching distribution found for no-such-package-of-ours==1.0" in endpoint["FailureReason"]
    assert "pip could not install code/requirements.txt of the model: name versions that" in endpoint["FailureReason"]
    assert "Traceback" not in endpoint["FailureReason"]
    sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])


def test_an_image_that_trains_does_not_serve(sagemaker: Any, s3: Any) -> None:
    with pytest.raises(ClientError, match="is there to train: it has no `serve`"):
        sagemaker.create_model(ModelName="trainer", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": TRAINING_IMAGE})

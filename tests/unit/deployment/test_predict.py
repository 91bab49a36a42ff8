"""The command that asks an endpoint: real S3, a real HTTP endpoint, images from files, folders, S3 and the web."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import cv2
import numpy as np
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from include.datasets.errors import DatasetError
from include.deployment import predict
from include.deployment.endpoint import NoServedModelError, served_model
from include.deployment.predict import DONE, INCOMPLETE, MISTAKE, Answer, Image, answer_of, main, read_web_image
from include.evaluation.prediction import ranked
from tests.support.documents import VARIABLE, dataset_version
from tests.support.web_server import LOOPBACK as LOOPBACK_NETWORKS
from tests.support.web_server import serve
from tests.unit.evaluation.conftest import square

OUTPUT = f"s3://{VARIABLE['output_bucket']}/jobs"
Run = Callable[..., tuple[int, str, str]]
LOOPBACK = ("--network", "127.0.0.0/8")


def make_endpoint(sagemaker: Any, name: str, uri: str, *, artifact: str = "", trained: bool = True) -> None:
    """An endpoint whose model a training job made from a dataset version."""
    if trained:
        sagemaker.create_training_job(
            TrainingJobName=f"job-{name}",
            AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
            RoleArn=VARIABLE["execution_role_arn"],
            InputDataConfig=[
                {
                    "ChannelName": "train",
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{uri}train/"}},
                }
            ],
            OutputDataConfig={"S3OutputPath": OUTPUT},
            ResourceConfig={"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5},
            StoppingCondition={"MaxRuntimeInSeconds": 600},
        )
    artifact = artifact or f"{OUTPUT}/job-{name}/output/model.tar.gz"
    sagemaker.create_model(
        ModelName=f"model-{name}",
        PrimaryContainer={"Image": "image", "ModelDataUrl": artifact},
        ExecutionRoleArn=VARIABLE["execution_role_arn"],
    )
    variant = {
        "VariantName": "champion",
        "ModelName": f"model-{name}",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=f"config-{name}", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=f"config-{name}")


@pytest.fixture(scope="module")
def shades(world: Any) -> Any:
    """The account with an endpoint `shades`, and one whose model nobody trained here."""
    sagemaker = world.client("sagemaker")
    make_endpoint(sagemaker, "shades", world.dataset.uri)
    make_endpoint(sagemaker, "foreign", world.dataset.uri, trained=False)
    return world


@pytest.fixture
def run(shades: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", shades.s3.meta.endpoint_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", runtime.meta.endpoint_url)

    def call(*arguments: str) -> tuple[int, str, str]:
        out = io.StringIO()
        code = main(arguments, out)
        return code, out.getvalue(), capsys.readouterr().err

    return call


def documents(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def test_the_classes_of_an_image_are_a_table_with_names_probabilities_and_milliseconds(
    run: Run, tmp_path: Path
) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(square("light", 1))

    code, said, _ = run("shades", str(image), "--top", "2")

    heading, first, second = said.splitlines()
    assert code == DONE
    assert heading.split() == ["image", "class", "probability", "milliseconds"]
    *_, label, probability, milliseconds = first.split()
    assert (label, 0.5 < float(probability) <= 1, float(milliseconds) > 0) == ("light", True, True)
    assert second.split()[0] == "grey"


def test_files_folders_objects_and_prefixes_are_answered_in_the_order_they_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos/.hidden").mkdir(parents=True)
    (tmp_path / "photos/more").mkdir()
    (tmp_path / "photos/more/b.jpg").write_bytes(square("grey", 1))
    (tmp_path / "photos/a.jpg").write_bytes(square("<b>dark", 1))
    (tmp_path / "photos/.hidden/c.jpg").write_bytes(b"no image")
    bucket = VARIABLE["data_bucket"]

    code, said, _ = run(
        "shades",
        "--json",
        f"s3://{bucket}/images/light/03.jpg",
        str(tmp_path / "photos"),
        f"s3://{bucket}/images/grey/",
    )

    found = documents(said)
    assert code == DONE
    assert [each["image"] for each in found] == [
        f"s3://{bucket}/images/light/03.jpg",
        f"{tmp_path}/photos/a.jpg",
        f"{tmp_path}/photos/more/b.jpg",
        *(f"s3://{bucket}/images/grey/{number:02d}.jpg" for number in range(16)),
    ]
    assert [each["label"] for each in found] == ["light", "<b>dark", "grey", *["grey"] * 16]
    assert [*found[0]] == ["image", "label", "probability", "classes", "milliseconds"]
    assert [each["label"] for each in found[0]["classes"]] == ["light", "grey", "<b>dark"]


def test_an_image_of_a_web_address_is_read_where_its_network_is_allowed(run: Run) -> None:
    with serve(square("light", 2)) as server:
        code, said, _ = run("shades", "--json", *LOOPBACK, f"{server.url}/a.jpg?Signature=secret")
        refused, why, _ = run("shades", "--json", f"{server.url}/a.jpg")

    assert (code, documents(said)[0]["label"]) == (DONE, "light")
    assert "secret" not in said
    (problem,) = documents(why)
    assert refused == INCOMPLETE
    assert problem["problem"] == (
        "leads to 127.0.0.1 (127.0.0.1), the machine itself, and this installation reads the public internet only: put "
        "the file into S3, or add --network 127.0.0.0/8"
    )


def test_an_image_is_packed_as_the_version_says_before_it_is_sent(run: Run, tmp_path: Path) -> None:
    """No endpoint takes a GIF, nor this many bytes."""
    (tmp_path / "a.gif").write_bytes(cv2.imencode(".gif", np.full((40, 60, 3), 215, np.uint8))[1].tobytes())

    code, said, _ = run("shades", "--json", str(tmp_path / "a.gif"))

    assert (code, documents(said)[0]["label"]) == (DONE, "light")


def test_what_cannot_be_answered_is_named_and_the_others_are_answered(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"no image")
    (tmp_path / "z.jpg").write_bytes(square("grey", 3))
    bucket = VARIABLE["data_bucket"]

    code, said, _ = run("shades", "--json", str(tmp_path), f"s3://{bucket}/nothing.jpg", str(tmp_path / "gone.jpg"))

    notes, answered, absent, gone = documents(said)
    assert code == INCOMPLETE
    assert notes["problem"].startswith("cannot be packed as dataset version s3://")
    assert answered["label"] == "grey"
    assert absent["problem"] == (
        f"s3://{bucket}/nothing.jpg: there is no such object: correct the address, or upload it"
    )
    assert gone["problem"] == f"{tmp_path}/gone.jpg: No such file or directory"
    table = run("shades", str(tmp_path / "notes.txt"))[1].splitlines()
    assert "cannot be packed as dataset version" in table[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent", "s3://images-of-acme/a.jpg"), "There is no endpoint absent in this account and region"),
        (
            ("foreign", "s3://images-of-acme/a.jpg"),
            "Endpoint foreign serves model-foreign, which no known training job",
        ),
        (("foreign", "s3://images-of-acme/a.jpg"), "(--dataset s3://BUCKET/datasets/NAME/VERSION/)"),
        (("shades", "s3://images-of-acme/none/"), "IMAGE = s3://images-of-acme/none/: there is no image"),
        (("shades", "s3://no-such-bucket/none/"), "there is no bucket no-such-bucket"),
        (("shades", "a", "--dataset", "s3://images-of-acme/datasets/a/b/"), "there is no dataset version at"),
    ],
)
def test_a_command_that_cannot_run_says_why(run: Run, arguments: tuple[str, ...], message: str) -> None:
    code, said, error = run(*arguments)

    assert (code, said) == (MISTAKE, "")
    assert message in error


def test_a_model_of_another_account_is_asked_with_the_version_that_is_named(run: Run, shades: Any) -> None:
    code, said, _ = run("foreign", "s3://images-of-acme/images/light/01.jpg", "--json", "--dataset", shades.dataset.uri)

    assert (code, documents(said)[0]["label"]) == (DONE, "light")


@pytest.mark.parametrize(
    ("code", "message", "is_of_the_image"),
    [
        ("ModelError", "Received client error (400) from primary", True),
        ("ThrottlingException", "Rate exceeded", False),
        ("ValidationError", "Endpoint shades of account 123456789012 not found.", False),
    ],
)
def test_what_the_container_refuses_is_one_images_problem_and_all_else_ends_the_command(
    code: str, message: str, is_of_the_image: bool
) -> None:
    runtime = boto3.client("sagemaker-runtime", region_name="us-east-1")
    image = Image("a.jpg", lambda: square("grey", 1))

    with Stubber(runtime) as stub:
        stub.add_client_error("invoke_endpoint", code, message)
        if is_of_the_image:
            assert message in answer_of(runtime, "shades", image, dataset_version()).problem
        else:
            with pytest.raises(ClientError, match=message):
                answer_of(runtime, "shades", image, dataset_version())


@pytest.mark.parametrize(
    ("values", "shown", "listed"),
    [([0.9, 0.1, 0.8], ["sun", "sea"], ["sun", "sea"]), ([0.4, 0.3, 0.1], [], ["none"])],
)
def test_a_model_of_several_labels_shows_those_above_the_threshold(
    values: list[float], shown: list[str], listed: list[str]
) -> None:
    dataset = dataset_version(labels=["sun", "rain", "sea"], multi_label=True)
    answer = Answer("a.jpg", tuple(ranked(values, dataset.labels)), 12.3)

    (line,) = predict._as_json(answer, dataset, 1, 0.5)
    _, *lines = predict._Table().show(answer, dataset, 1, 0.5)

    assert json.loads(line)["labels"] == shown
    assert json.loads(line)["classes"] == [{"label": "sun", "probability": values[0]}]
    assert [line[42:].split()[0] for line in lines] == listed


def test_the_local_aws_is_found_by_what_make_local_noted(
    run: Run, shades: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "services.json"
    monkeypatch.setattr(predict, "LOCAL_SERVICES", services)
    monkeypatch.setenv("AWS_PROFILE", "somebody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    arguments = ("absent", "s3://images-of-acme/a.jpg", "--local")

    assert "start it with `make local`" in run(*arguments)[2]
    services.write_text(json.dumps({"aws_url": shades.s3.meta.endpoint_url}))

    assert "There is no endpoint absent" in run(*arguments)[2]
    services.write_text(json.dumps({"aws_url": "http://127.0.0.1:9"}))

    assert "The local AWS does not answer" in run(*arguments)[2]


def test_of_several_variants_the_model_is_that_of_the_one_with_most_requests(shades: Any) -> None:
    sagemaker = shades.client("sagemaker")
    variants = [
        {
            "VariantName": f"variant-{model}",
            "ModelName": model,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
            "InitialVariantWeight": weight,
        }
        for model, weight in (("model-foreign", 0.1), ("model-shades", 0.9))
    ]
    sagemaker.create_endpoint_config(EndpointConfigName="several", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="several", EndpointConfigName="several")

    assert served_model(sagemaker, "several").name == "model-shades"
    assert served_model(sagemaker, "shades").dataset_uri == shades.dataset.uri
    with pytest.raises(NoServedModelError):
        served_model(sagemaker, "foreign")


def test_an_image_of_the_web_is_read_where_the_installation_allows_it() -> None:
    with serve(b"an image") as server:
        assert read_web_image(f"{server.url}/a.png", LOOPBACK_NETWORKS, most=10_000, seconds=10) == server.body


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:1/cat.jpg", "the machine itself"),
        ("http://[::ffff:10.0.0.1]/cat.jpg", "a private address"),
        ("http://169.254.169.254/latest/meta-data/", "machines read their credentials"),
        ("file:///etc/passwd", "write http:// or https://"),
        ("/etc/passwd", "write http:// or https://"),
        ("https://person:secret@example.com/cat.jpg", "password"),
    ],
)
def test_an_address_that_leads_inside_is_never_read(address: str, reason: str) -> None:
    with pytest.raises(DatasetError) as refused:
        read_web_image(address, (), most=10_000, seconds=2)

    assert reason in str(refused.value)
    assert "dataset.source" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_address_of_the_web_is_left_where_it_redirects_inside_grows_too_large_or_breaks_off() -> None:
    with serve(bytes(20_001)) as server:
        server.location = "http://169.254.169.254/"
        with pytest.raises(DatasetError, match="credentials"):
            read_web_image(f"{server.url}/moved/a.png", LOOPBACK_NETWORKS, most=10_000, seconds=10)
        with pytest.raises(DatasetError, match="more than 0 MB"):
            read_web_image(f"{server.url}/a.png", LOOPBACK_NETWORKS, most=20_000, seconds=10)
        server.breaks = [100]
        with pytest.raises(DatasetError, match="ends early"):
            read_web_image(f"{server.url}/a.png", LOOPBACK_NETWORKS, most=30_000, seconds=10)

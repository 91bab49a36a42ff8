"""`make test-docker`: a folder becomes an image, trains and serves in containers of a real Docker engine.

The base image is made of this machine's Python, so nothing is fetched.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.support.airflow_home import ROOT, migrated_database
from tests.support.airflow_once import spare_repetitions
from tests.support.base_image import import_python
from tests.support.local_aws import (
    BUCKET,
    ROLE,
    TOY_IMAGE,
    RunningLocalAws,
    eventually,
    finished_job,
    log_lines,
    start_local_aws,
    training_request,
)
from tests.support.world import SMALL, World, digits, running_world

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

BASE = "local-aws-tests/python"
FLOWERS = "tests/docker/flowers"
REPOSITORY = "image-classification/flowers"


@pytest.fixture(scope="session", autouse=True)
def engine() -> Iterator[None]:
    """An engine with the base image, which is removed at the end, together with what was built and pulled here."""
    asked = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    assert asked.returncode == 0, f"make test-docker needs a Docker engine: start dockerd. {asked.stderr}"
    before = {*docker("images", "--quiet", "--no-trunc").split()}
    import_python(BASE)
    yield
    made = {*docker("images", "--quiet", "--no-trunc").split()} - before
    # One goes with another that it was made of, so some are gone by their turn.
    subprocess.run(["docker", "image", "rm", "--force", *made], capture_output=True, check=False)
    assert not made & {*docker("images", "--quiet", "--no-trunc").split()}


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


def containers() -> list[str]:
    """The containers of the local AWS, those that have ended included."""
    return docker("ps", "--all", "--quiet", "--filter", "label=local-aws").split()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation on a local AWS with Docker, which tasks of Airflow find."""
    with (
        pytest.MonkeyPatch.context() as environment,
        running_world(tmp_path_factory.mktemp("local_aws"), "--docker") as world,
    ):
        for name, value in world.environment.items():
            environment.setenv(name, value)
        world.s3.create_bucket(Bucket=BUCKET)
        for key, content in {"daisy/1.jpg": b"\x10\x20", "daisy/2.jpg": b"\x30", "rose/1.jpg": b"\xf0\xe0"}.items():
            world.s3.put_object(Bucket=BUCKET, Key=f"data/train/{key}", Body=content)
        world.drop(digits("0", "1", count=12))
        yield world


@pytest.fixture(scope="module")
def local_aws(world: World) -> RunningLocalAws:
    return world.aws


@pytest.fixture(scope="module")
def sagemaker(local_aws: RunningLocalAws) -> Any:
    return local_aws.client("sagemaker")


@pytest.fixture(scope="module")
def dag_bag(tmp_path_factory: pytest.TempPathFactory) -> DagBag:
    migrated_database(tmp_path_factory)
    spare_repetitions()
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415  (the home comes first)

    return DagBag(ROOT / "dags")


@pytest.fixture(scope="module")
def published(world: World, dag_bag: DagBag) -> str:
    """The address of the image that the DAG publishes; the engine forgets what it has built."""
    dag_run = dag_bag.dags["publish_training_image"].test(run_conf={"folder": FLOWERS, "name": REPOSITORY})
    assert dag_run.state == "success"
    document = dag_run.get_task_instances()[0].xcom_pull(task_ids="publish_image")
    docker("image", "rm", f"{document['uri'].partition('@')[0]}:{document['tag']}")
    return str(document["uri"])


def test_the_whole_chain_runs_with_the_published_image(world: World, dag_bag: DagBag, published: str) -> None:
    conf = {
        **{name: value for name, value in SMALL.items() if not name.startswith("training.hyperparameters")},
        "training.algorithm.kind": "container",
        "training.algorithm.image": published,
        "training.algorithm.channels": "folders",
        "incremental.enabled": False,
        "endpoint.keep": False,
    }

    dag_run = dag_bag.dags["image_classification"].test(run_conf=conf)

    states = {instance.task_id: str(instance.state) for instance in dag_run.get_task_instances()}
    instance = dag_run.get_task_instances()[0]
    evaluation = instance.xcom_pull(task_ids="evaluation.evaluate")
    assert dag_run.state == "success", states
    assert evaluation["images"] > 0
    assert states["deployment.predict"] == "success"
    [job] = world.training_jobs()
    assert log_lines(world.client("logs"), job)[0].startswith("process 1 on ")
    assert containers() == []


def start_job(sagemaker: Any, image: str, **changes: Any) -> str:
    name = f"flowers-{uuid4().hex[:8]}"
    sagemaker.create_training_job(**training_request(name, image, **changes))
    return name


def test_the_job_pulls_the_published_image_by_its_digest_and_trains_in_a_container(
    local_aws: RunningLocalAws, sagemaker: Any, published: str
) -> None:
    [image] = local_aws.client("ecr").describe_images(repositoryName=REPOSITORY)["imageDetails"]
    assert published.endswith(f"@{image['imageDigest']}")

    definitions = [{"Name": "validation:accuracy", "Regex": "Validation-accuracy=(.*)"}]
    algorithm = {"TrainingImage": published, "TrainingInputMode": "File", "MetricDefinitions": definitions}
    job = finished_job(sagemaker, start_job(sagemaker, published, AlgorithmSpecification=algorithm), 120)

    lines = log_lines(local_aws.client("logs"), job["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert lines[0].startswith("process 1 on ")
    assert job["FinalMetricDataList"][0]["Value"] == 1.0
    assert containers() == []


def test_an_isolated_job_has_no_network(local_aws: RunningLocalAws, sagemaker: Any, published: str) -> None:
    job = finished_job(sagemaker, start_job(sagemaker, published, EnableNetworkIsolation=True), 120)

    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert log_lines(local_aws.client("logs"), job["TrainingJobName"])[0].endswith(" with lo")


def test_a_stopped_job_gets_sigterm_within_its_limits_and_keeps_what_it_saves(
    local_aws: RunningLocalAws, sagemaker: Any, published: str
) -> None:
    name = start_job(sagemaker, published, HyperParameters={"wait": "300"})
    eventually(lambda: "waiting" in written(local_aws, name), 60)
    [container] = containers()
    limits = json.loads(docker("inspect", "--format", "{{json .HostConfig}}", container))

    sagemaker.stop_training_job(TrainingJobName=name)
    job = finished_job(sagemaker, name, 60)

    assert limits["NanoCpus"] >= 10**9
    assert limits["Memory"] > 0
    assert job["SecondaryStatus"] == "Stopped"
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("/model.tar.gz")
    assert containers() == []


def written(local_aws: RunningLocalAws, job: str) -> list[str]:
    """The lines of a job that may not have begun."""
    logs = local_aws.client("logs")
    try:
        return log_lines(logs, job)
    except logs.exceptions.ResourceNotFoundException:
        return []


@pytest.mark.parametrize("isolated", [False, True])
def test_the_model_is_served_in_a_container(
    local_aws: RunningLocalAws, sagemaker: Any, published: str, isolated: bool
) -> None:
    trained = finished_job(sagemaker, start_job(sagemaker, published), 120)
    name = f"flowers-{isolated}"
    artifact = trained["ModelArtifacts"]["S3ModelArtifacts"]
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": published, "ModelDataUrl": artifact},
        EnableNetworkIsolation=isolated,
    )
    variant = {
        "VariantName": "only",
        "ModelName": name,
        "InstanceType": "ml.c5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    endpoint = eventually(lambda: ended_creation(sagemaker, name), 120)
    runtime = local_aws.client("sagemaker-runtime")

    answer = runtime.invoke_endpoint(EndpointName=name, ContentType="image/jpeg", Body=b"\xf1\xe1")

    daisy, rose = json.load(answer["Body"])
    assert endpoint["EndpointStatus"] == "InService", endpoint.get("FailureReason")
    assert rose > daisy
    [container] = containers()
    networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container))
    assert [docker("network", "inspect", "--format", "{{.Internal}}", network) for network in networks] == [
        str(isolated).lower()
    ]
    sagemaker.delete_endpoint(EndpointName=name)
    eventually(lambda: not containers(), 60)
    eventually(lambda: not docker("network", "ls", "--quiet", "--filter", "label=local-aws"), 30)


def ended_creation(sagemaker: Any, name: str) -> Any:
    endpoint = sagemaker.describe_endpoint(EndpointName=name)
    return endpoint if endpoint["EndpointStatus"] != "Creating" else None


def test_an_image_that_the_engine_does_not_have_runs_as_the_process_it_is_mapped_to(
    local_aws: RunningLocalAws, sagemaker: Any
) -> None:
    job = finished_job(sagemaker, start_job(sagemaker, TOY_IMAGE), 60)

    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert log_lines(local_aws.client("logs"), job["TrainingJobName"])[0] != "pid 1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_container_outlives_the_server(tmp_path: Path, number: signal.Signals) -> None:
    docker("build", "--tag", "local-aws-tests/flowers", FLOWERS)
    running = start_local_aws(tmp_path, "--docker")
    s3 = running.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="data/train/daisy/1.jpg", Body=b"\x10")
    name = start_job(running.client("sagemaker"), "local-aws-tests/flowers", HyperParameters={"wait": "300"})
    eventually(lambda: "waiting" in written(running, name), 60)
    assert len(containers()) == 1

    running.end(number)

    eventually(lambda: not containers(), 30)


def test_without_an_engine_the_server_says_in_one_line_that_it_needs_one(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "local_aws", "--port", "0", "--docker"],
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 2
    assert "--docker needs a Docker engine, and none answers at" in ended.stderr

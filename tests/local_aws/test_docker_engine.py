"""Which images Docker runs, and what is opened to the users of an image; tests/docker has a real engine."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from local_aws.container_images import Command, ContainerImages
from local_aws.docker_engine import DockerContainer, DockerEngine, DockerImage, Limits
from tests.support.local_aws import BUCKET, finished_job, log_lines, start_local_aws, training_request
from tests.unit.docs.commands import shown

REGISTRY = "127.0.0.1:4566"


@pytest.fixture
def engine(tmp_path: Path) -> DockerEngine:
    """An engine that has `mine:1` alone; `run` prints what it was started with."""
    program = tmp_path / "docker"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nwords = sys.argv[3:]\n"
        "if words[0] == 'run':\n    print('\\n'.join(words[1:]))\n"
        "elif words[:2] == ['image', 'inspect']:\n    sys.exit(words[2] not in ('mine:1', '--help'))\n"
    )
    program.chmod(0o755)
    return DockerEngine(str(program), "unix:///nobody.sock", REGISTRY)


def test_an_image_that_the_engine_has_runs_in_docker_and_any_other_as_a_process(engine: DockerEngine) -> None:
    images = ContainerImages({"mine": ["python", "main.py"]}, engine=engine)

    assert images.runnable("mine:1", "train") == DockerImage(engine, "mine:1", ("train",))
    for other in ("mine:2", f"{REGISTRY}/123456789012/us-east-1/mine:1", f"{REGISTRY}/x/nowhere/mine:1"):
        assert isinstance(images.runnable(other, "train"), Command)


def test_no_option_of_docker_is_an_image(engine: DockerEngine) -> None:
    assert engine.image("--help", "train", {}) is None


def test_an_entry_point_of_the_request_takes_the_place_of_the_images(engine: DockerEngine) -> None:
    def image(**algorithm: Any) -> DockerImage | None:
        return engine.image("mine:1", "train", algorithm)

    assert image(ContainerArguments=["train", "--fast"]) == DockerImage(engine, "mine:1", ("train", "--fast"))
    assert image(ContainerEntrypoint=["bash", "-c"], ContainerArguments=["echo"]) == DockerImage(
        engine, "mine:1", ("-c", "echo"), "bash"
    )


@pytest.mark.parametrize(
    ("port", "networked", "network"),
    [(None, True, "--network host"), (None, False, "--network none"), (18000, True, "--publish 127.0.0.1:18000:8080")],
)
def test_a_container_has_its_folder_its_limits_and_only_the_network_it_may_have(
    engine: DockerEngine, tmp_path: Path, port: int | None, networked: bool, network: str
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    lines: list[str] = []

    container = engine.start(
        DockerImage(engine, "mine:1", ("train",)),
        base=base,
        environment={"LD_PRELOAD": "x"},
        limits=Limits(2, 1 << 30),
        networked=networked,
        on_line=lines.append,
        port=port,
    )

    assert container.wait(20) == 0
    said = " ".join(lines)
    for words in (network, f"--mount type=bind,source={base},target=/opt/ml", "--cpus 2 --memory 1073741824"):
        assert words in said
    assert said.endswith("--env LD_PRELOAD=x mine:1 train")
    assert isinstance(container, DockerContainer)
    assert container.found_at == (("127.0.0.1", port) if port else None)


def test_the_command_for_docker_runs_an_image_that_the_engine_has(engine: DockerEngine, tmp_path: Path) -> None:
    (command,) = shown("python -m local_aws --docker")
    _, _, _, *options = command.words

    running = start_local_aws(tmp_path / "aws", *options, environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    try:
        s3, sagemaker = running.client("s3"), running.client("sagemaker")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="data/train/a.rec", Body=b"x")
        sagemaker.create_training_job(**training_request("in-docker", "mine:1"))
        job = finished_job(sagemaker, "in-docker")
        lines = log_lines(running.client("logs"), "in-docker")
    finally:
        running.end()

    assert job["TrainingJobStatus"] == "Completed", job
    assert lines[-2:] == ["mine:1", "train"]


def test_what_a_container_has_linked_is_not_opened_to_everybody(engine: DockerEngine, tmp_path: Path) -> None:
    secret, base = tmp_path / "secret", tmp_path / "base"
    (base / "model").mkdir(parents=True)
    secret.touch(0o600)
    (base / "model" / "weights").touch(0o600)
    (base / "model" / "run").touch(0o700)
    (base / "model" / "link").symlink_to(secret)

    engine.start(
        DockerImage(engine, "mine:1", ("train",)),
        base=base,
        environment={},
        limits=Limits(1, 1 << 30),
        networked=True,
        on_line=print,
    ).wait(20)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (secret, *(base / "model").iterdir())}
    assert modes == {"secret": 0o600, "link": 0o600, "weights": 0o666, "run": 0o777}

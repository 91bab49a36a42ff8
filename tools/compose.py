"""Starts and removes the installation of docker-compose.yaml: `compose.py up [WORKERS]` and `compose.py down`.

Works with `docker compose` and with docker-compose 1.29. Standard library only.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
LOCAL_AWS_HOST = "local-aws"
LOCAL_AWS = f"http://{LOCAL_AWS_HOST}:4566"


class ComposeError(Exception):
    """A reason for which the installation cannot be started, in one line."""


def main(arguments: list[str]) -> int:
    """Do what the first argument says."""
    try:
        if arguments[0] == "up":
            up(int(arguments[1]) if len(arguments) > 1 else 2)
        else:
            down()
    except ComposeError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def up(workers: int) -> None:
    """Build the images, start every service with this many Celery workers, and say how to sign in."""
    values = environment_file()
    compose("build")
    compose("up", "--detach", "--scale", f"worker={workers}")
    port = os.environ.get("AIRFLOW_PORT") or "8080"
    print(f"Airflow: http://127.0.0.1:{port}  user: admin  password: {values['ADMIN_PASSWORD']}")
    print("It answers in a minute or two; `make compose-down` removes it.")


def down() -> None:
    """End every service and remove its volumes; `.env` stays."""
    if ENV_FILE.exists():
        compose("down", "--volumes", "--remove-orphans")


def environment_file() -> dict[str, str]:
    """Read `.env`, written with fresh secrets for the local AWS if there is none."""
    if not ENV_FILE.exists():
        partial = ENV_FILE.with_name(f"{ENV_FILE.name}.part")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_text("".join(f"{name}={value}\n" for name, value in fresh_environment().items()))
        partial.replace(ENV_FILE)
    ENV_FILE.chmod(0o600)
    lines = (line.partition("=") for line in ENV_FILE.read_text().splitlines() if "=" in line and line[0] != "#")
    return {name: value for name, _, value in lines}


def fresh_environment() -> dict[str, str]:
    """Secrets made up now, and the settings of an installation on the local AWS."""
    settings = {
        "queue_url": f"{LOCAL_AWS}/123456789012/image-classification-new-images",
        "data_bucket": "image-classification-data",
        "output_bucket": "image-classification-output",
        "execution_role_arn": "arn:aws:iam::123456789012:role/image-classification-sagemaker",
        "region": "us-east-1",
        "poll_seconds": 2,
        "imagenet_weights": False,
    }
    return {
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "REDIS_PASSWORD": secrets.token_hex(16),
        "FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "SECRET_KEY": secrets.token_hex(32),
        "JWT_SECRET": secrets.token_hex(32),
        "ADMIN_PASSWORD": secrets.token_urlsafe(12),
        "AIRFLOW_VAR_IMAGE_CLASSIFICATION": json.dumps(settings),
        "AWS_ENDPOINT_URL": LOCAL_AWS,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/project/infrastructure/local-aws.config",
    }


def compose(*arguments: str) -> None:
    """Run a compose command over every profile that `.env` needs; its output goes to the terminal."""
    profile = ["--profile", "local"] if f"//{LOCAL_AWS_HOST}:" in ENV_FILE.read_text() else []
    ended = subprocess.run([*compose_command(), *profile, *arguments], cwd=ROOT, check=False)
    if ended.returncode:
        raise ComposeError(f"`docker compose {arguments[0]}` failed: its output is above.")


def compose_command() -> list[str]:
    """The compose of this machine.

    Raises ComposeError if there is none, or where no Docker engine answers.
    """
    docker = shutil.which("docker")
    if docker is None:
        raise ComposeError("Docker is not installed: see docs/how-to/installation.md.")
    if subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        raise ComposeError("No Docker engine answers: start it (dockerd), and check that you may use it.")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise ComposeError("Docker Compose is not installed: neither `docker compose` nor `docker-compose` is there.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Scripts on a SageMaker SDK, in the environment of that SDK: it is not installed where the tests run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SDK_V2 = ".venv-sdk-v2"
SDK_V3 = ".venv-sagemaker"
CORE_RESOURCES = Path(__file__).with_name("core_resources.py")


def run_script(environment: str, script: Path, *arguments: object, url: str = "", home: Path) -> str:
    """All that a script prints, run as a user runs it against the AWS at `url`; it has to succeed."""
    python = ROOT / environment / "bin" / "python"
    assert python.exists(), f"{python} is missing: `make test` makes its environment"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON", "AIRFLOW"))}
    aws = {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    finished = subprocess.run(
        [python, script, *map(str, arguments)],
        env=clean | (aws if url else {}) | {"HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    printed = finished.stdout + finished.stderr
    assert finished.returncode == 0, printed[-6000:]
    return printed


def core_resources(use: str, *arguments: object, url: str, home: Path) -> dict[str, Any]:
    """What `core_resources.py` saw when it used resources of sagemaker-core so."""
    result = home / "result.json"
    run_script(SDK_V3, CORE_RESOURCES, use, result, *arguments, url=url, home=home)
    seen: dict[str, Any] = json.loads(result.read_text())
    return seen

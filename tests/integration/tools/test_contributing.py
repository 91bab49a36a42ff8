"""What contributors are shown beside `make`: commands of git, of pre-commit, and those that find the logs of a test."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.makefile import ROOT
from tests.unit.docs.commands import shown


def test_commits_are_checked_before_they_are_made(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    for command in shown(".venv/bin/pre-commit *"):
        program, *arguments = command.words
        subprocess.run([ROOT / program, *arguments], cwd=tmp_path, env=environment, capture_output=True, check=True)

    assert "pre-commit" in (tmp_path / ".git/hooks/pre-commit").read_text()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this folder is not a git checkout")
def test_the_code_of_a_message_is_found_by_its_words() -> None:
    (command,) = shown("git grep *")

    found = subprocess.run(command.words, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert any(line.startswith("local_aws/") for line in found.splitlines())


def test_the_logs_of_tasks_and_of_processes_are_found(tmp_path: Path) -> None:
    runs = tmp_path / "pytest-of-somebody"
    task, process = "home/logs/dag_id=a/run_id=b/task_id=c/attempt=1.log", "state/logs/airflow.log"
    for file in (task, process, "state/logs/airflow.pid"):
        (runs / "pytest-7" / file).parent.mkdir(parents=True, exist_ok=True)
        (runs / "pytest-7" / file).touch()
    (runs / "pytest-current").symlink_to("pytest-7")

    lines = [command.line.replace("/tmp/", f"{tmp_path}/") for command in shown("find *")]
    found = [
        subprocess.run(
            ["/bin/sh", "-c", line], env={**os.environ, "USER": "somebody"}, capture_output=True, text=True, check=True
        ).stdout.split()
        for line in lines
    ]

    assert found == [[f"{runs}/pytest-current/{file}"] for file in (task, process)]

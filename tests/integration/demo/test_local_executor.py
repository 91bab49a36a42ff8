"""The demo's Airflow, whose parts, workers and tasks are forks of processes that have loaded what they need."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tests.support.airflow_home  # noqa: F401  (before anything imports airflow)
from demo.airflow_standalone import LOADED_BY_PARTS
from demo.bootstrap import LocalSettings
from demo.local_executor import LOADED_BY_TASKS, WarmLocalExecutor
from demo.services import ROOT, airflow_environment


def test_workers_are_forked_when_everything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded_before_the_fork: set[str] = set()
    forking = "airflow.executors.local_executor.LocalExecutor.start"
    monkeypatch.setattr(forking, lambda _: loaded_before_the_fork.update(sys.modules))

    WarmLocalExecutor(parallelism=1).start()  # type: ignore[no-untyped-call]

    assert loaded_before_the_fork >= set(LOADED_BY_TASKS)


def test_nothing_of_the_project_is_loaded_before_a_part_or_a_task_reads_it() -> None:
    own = {path.name for folder in (ROOT, ROOT / "plugins") for path in folder.iterdir() if path.is_dir()}
    assert not {name.partition(".")[0] for name in LOADED_BY_PARTS} & own
    assert {*LOADED_BY_TASKS} <= {*LOADED_BY_PARTS}


def test_the_services_run_with_it(tmp_path: Path) -> None:
    url = "http://127.0.0.1:4566"
    environment = airflow_environment(tmp_path, LocalSettings.at(url), url, "http://127.0.0.1:8080")

    assert environment["AIRFLOW__CORE__EXECUTOR"] == f"{WarmLocalExecutor.__module__}.{WarmLocalExecutor.__name__}"

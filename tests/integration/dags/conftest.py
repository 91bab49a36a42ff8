from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.airflow_home import ROOT, migrated_database
from tests.support.airflow_once import spare_repetitions
from tests.support.made_runs import made_runs, serialized_dags

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

__all__ = ["airflow_database", "dag_bag", "dag_files", "made_runs", "serialized_dags"]


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> None:
    migrated_database(tmp_path_factory)
    spare_repetitions()


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415  (the home comes first)

    return DagBag(ROOT / "dags")


@pytest.fixture(scope="session")
def dag_files() -> list[Path]:
    return sorted(path for path in (ROOT / "dags").glob("*.py") if path.name != "__init__.py")

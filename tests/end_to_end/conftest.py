from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import airflow_home
from tests.support.airflow_once import spare_repetitions
from tests.support.boto_definitions import read_definitions_once

read_definitions_once()


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database that all test processes may copy."""
    return airflow_home.migrated_database(tmp_path_factory)


@pytest.fixture(scope="session")
def airflow_database(migrated_database: Path) -> None:
    """The database of this test process, for DAGs that run in it."""
    spare_repetitions()


@pytest.fixture(scope="module")
def module_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("world")

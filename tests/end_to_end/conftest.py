from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.airflow_home import migrate_once


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database that all test processes may copy."""
    base = tmp_path_factory.getbasetemp()
    return migrate_once(base if base.name.startswith("pytest-") else base.parent)


@pytest.fixture(scope="session")
def airflow_database(migrated_database: Path) -> None:
    """The database of this test process."""


@pytest.fixture(scope="module")
def module_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("world")

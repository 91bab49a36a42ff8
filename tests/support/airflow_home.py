"""An Airflow of the tests' own: its home, its configuration, its database. Import this before `airflow`."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(tempfile.mkdtemp(prefix="airflow-home-"))
DATABASE = HOME / "airflow.db"
SETTINGS = {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{DATABASE}",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(HOME / "logs"),
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
}

atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(SETTINGS)


@cache
def migrate_once(shared: Path) -> Path:
    """Give this process a migrated database; the first of several test processes makes it, the others copy it.

    Returns the one that is copied. Once for each process: a copy over a database in use would damage it.
    """
    template = shared / "airflow-template.db"
    with (shared / "airflow-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            scratch = shared / "airflow-scratch.db"
            subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env={**os.environ, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{scratch}"},
                check=True,
                capture_output=True,
            )
            scratch.rename(template)
    shutil.copyfile(template, DATABASE)
    return template


def migrated_database(factory: pytest.TempPathFactory) -> Path:
    """The empty, migrated database of a whole test run; this process's own is a copy of it."""
    base = factory.getbasetemp()
    return migrate_once(base if base.name.startswith("pytest-") else base.parent)

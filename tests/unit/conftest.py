from __future__ import annotations

import sys
from collections.abc import Iterator

import croniter  # type: ignore[import-untyped]  # noqa: F401  (when it is loaded it starts a process)
import pytest

from tests.support import airflow_home  # noqa: F401  (it comes before any import of Airflow)
from tests.support.boto_definitions import read_definitions_once

read_definitions_once()


STARTS_A_PROCESS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})
_watched = False


def _refuse_processes(event: str, arguments: object) -> None:
    if _watched and event in STARTS_A_PROCESS:
        raise AssertionError(f"A unit test starts a process ({event}): it belongs into tests/integration.")


sys.addaudithook(_refuse_processes)


@pytest.fixture(autouse=True)
def no_process() -> Iterator[None]:
    """Unit tests start no process."""
    global _watched  # noqa: PLW0603  (an audit hook stays for ever)
    _watched = True
    yield
    _watched = False

from __future__ import annotations

import gc
import os
import signal
from typing import Any

import pytest

# A shell ignores interrupts in what it starts in the background, and what is started there inherits this. Some tests
# interrupt themselves or their processes.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Thousands of tests are objects that stay: while they are made, looking for garbage takes a quarter of the time.
gc.disable()

# The tests are more processes than there are processors, and so are the jobs that they train: with a second thread a
# training takes four times as much processor time, most of which its threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONGEST = (
    "tests/end_to_end/test_readme.py",
    "tests/browser/",
    "tests/end_to_end/test_faults.py",
    "tests/end_to_end/test_retraining.py",
    "tests/end_to_end/test_chaos.py",
    "tests/end_to_end/test_own_algorithms.py",
    "tests/end_to_end/test_chain.py",
    "tests/end_to_end/test_champion.py",
    "tests/end_to_end/",
    "tests/integration/datasets/test_killed_builds.py",
    "tests/integration/evaluation/",
    "tests/integration/",
)
"""What takes minutes comes first, so that no worker is left with it when the others have ended. The first ones wait for
an Airflow that runs: meanwhile the others use the processors."""
ONE_WORLD = ("tests/browser/",)
"""Folders whose files share what they start, and so a worker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest tests come first."""
    items.sort(key=lambda item: [not item.nodeid.startswith(long) for long in LONGEST])


def pytest_collection_finish() -> None:
    """Look for garbage from here on, though not among the tests and modules."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests of a file to one worker, and so those of the folders of ONE_WORLD."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415  (absent where no -n is used)

    class ByWorld(LoadFileScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in ONE_WORLD if nodeid.startswith(folder)), super()._split_scope(nodeid))

    return ByWorld(config, log)

"""The demos that train for minutes, as their commands stand on the pages. `make test-demos` runs them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.demos import run_target
from tests.support.ports import free_port
from tests.unit.docs.commands import shown

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.enable_socket,
    pytest.mark.timeout(3600),
    pytest.mark.skipif("ALL_DEMOS" not in os.environ, reason="trains for ten minutes; `make test-demos` runs it"),
]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in the place of `.local`; what the demos start there ends with the tests."""
    state = tmp_path_factory.mktemp("services")
    yield state
    run_target(["make", "down"], state)


def summary(state: Path, name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((state / f"{name}-summary.json").read_text(encoding="utf-8"))
    return figures


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    return {"PORT": str(free_port()), "AIRFLOW_PORT": str(free_port())}


def test_new_images_retrain_what_serves_and_mixed_up_labels_do_not(state: Path, ports: dict[str, str]) -> None:
    """Without services it runs the first demo itself."""
    (command,) = shown("make demo-retrain")

    terminal = run_target(command.words, state, **ports)

    figures = summary(state, "demo-retrain")
    assert summary(state, "demo")["test_accuracy"] > 0.9
    assert figures["challenger"]["serves"]
    assert figures["challenger"]["accuracy"] > 0.9
    assert (figures["client"]["requests"] > 0, figures["client"]["failed"]) == (True, 0)
    assert figures["refused"]["endpoint_unchanged"]
    assert figures["refused"]["reason"] in " ".join(terminal.split())
    assert all("<h1" in (state / f"demo-{page}.html").read_text() for page in ("promoted", "refused"))


def test_the_scripts_are_tuned_trained_in_full_and_deployed(state: Path, ports: dict[str, str]) -> None:
    (command,) = shown("make demo-pytorch")

    terminal = run_target(command.words, state, **ports)

    figures = summary(state, "demo-pytorch")
    assert figures["test_accuracy"] > 0.9
    assert f"{figures['test_accuracy']:.4f}" in terminal

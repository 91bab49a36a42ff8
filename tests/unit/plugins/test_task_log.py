"""What a person reads in a task's log, through Airflow's own logging and task runner."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import tests.support.airflow_home  # noqa: F401  (before anything imports airflow)
from image_classification.task_log import QUIET, keep_readable, shorten
from include.datasets.errors import DatasetError
from include.deployment.registry import NoModelError
from include.problems import Problem, ProblemsError


def refusals() -> dict[str, Exception]:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException  # noqa: PLC0415  (the home comes first)

    return {
        "problems": ProblemsError(
            [Problem(field="epochs", value=0, remedy="at least 1"), Problem(field="a", remedy="b")]
        ),
        "dataset": DatasetError("nothing here"),
        "model": NoModelError("no approved model"),
        "job": AirflowFailException("The training job a ended as Failed: ClientError\n  the last line of its log"),
        "aws": AirflowException("AWS refused 1 of 3: theirs."),
    }


@pytest.fixture
def task_logs() -> Iterator[Callable[[Callable[[Any], None]], list[dict[str, Any]]]]:
    """The entries that a function writes as a task does, with Airflow's logging as its task processes have it."""
    import structlog  # noqa: PLC0415
    from airflow.sdk._shared.logging import configure_logging  # noqa: PLC0415

    before, level = structlog.get_config(), logging.getLogger().level
    handlers, levels = logging.getLogger().handlers[:], {name: logging.getLogger(name).level for name in QUIET}

    def written(write: Callable[[Any], None]) -> list[dict[str, Any]]:
        output = io.BytesIO()
        configure_logging(json_output=True, log_level="INFO", output=output, cache_logger_on_first_use=False)
        log = structlog.get_logger(logger_name="task")
        log.info("before the DAG file is read")
        keep_readable()
        write(log)
        return [json.loads(line) for line in output.getvalue().splitlines()][1:]

    yield written
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


def failing(log: Any, error: Exception) -> None:
    try:
        raise error
    except Exception:
        log.exception("Task failed with exception")


@pytest.mark.parametrize("name", refusals())
def test_a_refusal_is_its_message_without_a_traceback(task_logs: Any, name: str) -> None:
    error = refusals()[name]

    entries = task_logs(lambda log: failing(log, error))

    first, *rest = str(error).splitlines()
    assert [entry["event"] for entry in entries] == [f"Task failed: {first}", *rest]
    assert {entry["level"] for entry in entries} == {"error"}
    assert not any("exception" in entry for entry in entries)


@pytest.mark.parametrize("error", [KeyError("labels"), ValueError("invalid literal"), RuntimeError("a bug")])
def test_a_fault_in_the_code_is_its_message_and_then_its_traceback(task_logs: Any, error: Exception) -> None:
    first, entry = task_logs(lambda log: failing(log, error))

    assert (first["level"], first["event"]) == ("error", f"Task failed: {type(error).__name__}: {error}")
    assert "exception" not in first

    assert entry["exception"][0]["exc_type"] == type(error).__name__
    assert entry["exception"][0]["frames"]


def test_what_tasks_hand_on_is_not_written_down(task_logs: Any) -> None:
    document = SimpleNamespace(ti="x" * 5000)

    def hand_on(log: Any) -> None:
        log.info("Pushing xcom", ti=document)
        log.info("Condition result is %s", document)

    entries = task_logs(hand_on)

    assert [entry["event"] for entry in entries] == ["Pushing xcom"]
    assert "x" * 100 not in json.dumps(entries)


def test_aws_clients_say_nothing_of_where_they_look(task_logs: Any) -> None:
    def sign_in(_: Any) -> None:
        for name in QUIET:
            logging.getLogger(name).info("Found credentials in environment variables.")
            logging.getLogger(name).warning("Refreshing failed.")

    assert [entry["event"] for entry in task_logs(sign_in)] == ["Refreshing failed."] * len(QUIET)


def test_a_level_that_the_installation_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger(QUIET[0])
    monkeypatch.setattr(logger, "level", logging.DEBUG)

    keep_readable()

    assert logger.level == logging.DEBUG


def test_the_processor_is_in_its_place_once() -> None:
    import structlog  # noqa: PLC0415

    keep_readable()
    keep_readable()

    assert structlog.get_config()["processors"].count(shorten) == 1

"""A small client of Airflow's REST API: what the demo needs to start a run and to watch it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from types import TracebackType
from typing import Any

import httpx

FINAL_RUN_STATES = frozenset({"success", "failed"})
REPEATABLE = frozenset({"GET", "PATCH"})
"""Methods that do no harm when they are asked for again."""

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each repetition of a request that the server failed at."""

ANSWER_SECONDS = 30.0
"""How long an answer is waited for."""


class AirflowError(Exception):
    """Airflow does not answer, refused a request, or has no such DAG."""


@dataclass(frozen=True)
class TaskRun:
    """One task of a run, or one of its mapped copies; times are UTC, None before they come."""

    task_id: str
    map_index: int
    state: str | None
    start: datetime | None
    end: datetime | None
    try_number: int
    hostname: str | None = None


@dataclass(frozen=True)
class DagRun:
    """A run, the conf it was started with, and the times Airflow keeps of it."""

    run_id: str
    state: str
    conf: dict[str, Any]
    queued: datetime | None
    end: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.state in FINAL_RUN_STATES

    @property
    def wall_seconds(self) -> float:
        """Seconds from the trigger to the end of the run."""
        return (self.end - self.queued).total_seconds() if self.queued and self.end else 0.0


class AirflowClient:
    """Speaks to one Airflow as one user."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False)
        token = self._call("POST", "/auth/token", json={"username": user, "password": password})["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> AirflowClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def wait_for_dag(self, dag_id: str, seconds: float) -> None:
        """Wait until the DAG processor has read a DAG.

        Raises AirflowError with the import errors if it does not appear.
        """
        deadline = time.monotonic() + seconds
        while self._answer("GET", f"/api/v2/dags/{dag_id}").status_code == 404:
            errors = self._call("GET", "/api/v2/importErrors")["import_errors"]
            if errors:
                raise AirflowError("\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors))
            if time.monotonic() > deadline:
                raise AirflowError(f"Airflow did not read the DAG {dag_id} within {seconds:.0f} s.")
            time.sleep(0.5)

    def unpause(self, dag_id: str) -> None:
        """Let a DAG's runs start."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any], run_id: str = "") -> str:
        """Start a run and return its id; a run of this id that is there already stays the only one."""
        run_id = run_id or f"manual__{datetime.now(UTC).isoformat()}"
        body = {"logical_date": None, "conf": conf, "dag_run_id": run_id}
        answer = self._answer("POST", f"/api/v2/dags/{dag_id}/dagRuns", is_repeatable=True, json=body)
        if answer.status_code != 409:
            self._content(answer)
        return run_id

    def dag_run(self, dag_id: str, run_id: str) -> DagRun:
        """The run as it is now."""
        return _dag_run(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"))

    def dag_runs(self, dag_id: str) -> list[DagRun]:
        """The runs of a DAG, the latest first."""
        answer = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"order_by": "-run_after", "limit": 100})
        return [_dag_run(run) for run in answer["dag_runs"]]

    def task_order(self, dag_id: str) -> dict[str, int]:
        """Each task's place in the DAG, what comes first with the lower number."""
        tasks = self._call("GET", f"/api/v2/dags/{dag_id}/tasks")["tasks"]
        sorter: TopologicalSorter[str] = TopologicalSorter({task["task_id"]: () for task in tasks})
        for task in tasks:
            for downstream in task["downstream_task_ids"]:
                sorter.add(downstream, task["task_id"])
        return {task_id: place for place, task_id in enumerate(sorter.static_order())}

    def task_runs(self, dag_id: str, run_id: str, *, task_id: str | None = None) -> list[TaskRun]:
        """The tasks of a run, or the copies of one task."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        only = {} if task_id is None else {"task_id": task_id}
        instances = self._call("GET", path, params={"limit": 500, **only})["task_instances"]
        return [
            TaskRun(
                task_id=instance["task_id"],
                map_index=instance["map_index"],
                state=instance["state"],
                start=_time(instance["start_date"]),
                end=_time(instance["end_date"]),
                try_number=instance["try_number"],
                hostname=instance["hostname"],
            )
            for instance in instances
        ]

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """The document that a task passed on, None if it passed on nothing."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        answer = self._answer("GET", path)
        if answer.status_code == 404:
            return None
        value = self._content(answer)["value"]
        return json.loads(value) if isinstance(value, str) else value

    def log_lines(self, dag_id: str, run_id: str, task: TaskRun) -> list[str]:
        """The log of a task's last try."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}/logs/{task.try_number}"
        content = self._call("GET", path, params={"map_index": task.map_index})["content"]
        return [line for entry in content for line in _log_entry(entry)]

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        return self._content(self._answer(method, path, **arguments))

    def _answer(self, method: str, path: str, *, is_repeatable: bool = False, **arguments: Any) -> httpx.Response:
        """Ask once, or again where that does no harm.

        On SQLite Airflow 3.3 answers 500 now and then, or not in time: a person's request notes itself in the log by
        a write that blocks the server's event loop, while the write that it waits for needs that loop to end.
        """
        pauses = PAUSES if is_repeatable or method in REPEATABLE else ()
        try:
            for pause in pauses:
                with suppress(httpx.ReadTimeout):
                    answer = self._http.request(method, path, **arguments)
                    if not answer.is_server_error:
                        return answer
                time.sleep(pause)
            return self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise AirflowError(f"Airflow at {self._http.base_url} does not answer any more: {error}.") from error

    @staticmethod
    def _content(answer: httpx.Response) -> Any:
        if answer.is_error:
            raise AirflowError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
        return answer.json()


def _dag_run(answer: dict[str, Any]) -> DagRun:
    return DagRun(
        run_id=answer["dag_run_id"],
        state=answer["state"],
        conf=answer["conf"] or {},
        queued=_time(answer["queued_at"]) or _time(answer["start_date"]),
        end=_time(answer["end_date"]),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _log_entry(entry: dict[str, Any] | str) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    errors = entry.get("error_detail") or []
    return [str(entry["event"]), *(f"{error['exc_type']}: {error['exc_value']}" for error in errors)]

"""An Airflow of processes (scheduler, workers, triggerer, DAG processor, API) that a test may kill and start again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Collection
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from demo.airflow_client import AirflowClient, AirflowError, DagRun, TaskRun
from demo.processes import BackgroundProcess
from demo.services import ROOT, USER, airflow_environment
from tests.support.local_aws import eventually
from tests.support.ports import free_port
from tests.support.world import World

PASSWORD = "for-the-tests-only"
START_SECONDS = 180.0
RUN_SECONDS = 300.0
PAUSE = 1.0
"""Seconds between two looks: Airflow shares the machine with what it is asked about."""
THINKING_SECONDS = 5.0
"""How long a person thinks before an answer."""

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

QUICK = {
    "AIRFLOW__CORE__EXECUTOR": "tests.support.live_executor.LoadedLocalExecutor",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
}
"""How soon a triggerer and a scheduler take over from those that are gone; by default after 30 s and up to 5 minutes.
DAG files are read once, and a task finds this project loaded: nothing of it changes while a test runs. A scheduler
that looks twice a second takes a twentieth of a core.

The 30 s after which a scheduler counts as gone stay: on a busy machine it would give up its own running tasks.
"""

RETRY_AT_ONCE = """
from datetime import timedelta


def task_policy(task):
    task.max_retry_delay = timedelta(seconds=1)
"""
"""Airflow's own settings file, by which an installation changes every task: by default they wait 20 s and longer."""


class Operator(AirflowClient):
    """What a person does in the UI beside starting runs."""

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        copy = self.task(dag_id, run_id, task_id).map_index
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self._call("PATCH", path if copy < 0 else f"{path}/{copy}", json={"new_state": state})

    def begin(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
        """Start a run with an id of its own; False where Airflow could not do so just now."""
        with suppress(AirflowError):
            return bool(self.trigger(dag_id, conf, run_id))
        return False

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "only_failed": False,
            "include_downstream": True,
            "reset_dag_runs": True,
        }
        self._call("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", is_repeatable=True, json=body)

    def abandon(self, dag_id: str, run_id: str) -> None:
        """Fail a run that is not over, with all that is left of it."""
        if not self.dag_run(dag_id, run_id).is_over:
            self._call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})

    def task(self, dag_id: str, run_id: str, task_id: str) -> TaskRun:
        """A task of a run that has one copy."""
        (found,) = self.task_runs(dag_id, run_id, task_id=task_id)
        return found

    def notes(self, dag_id: str, run_id: str, task_id: str) -> list[str]:
        """What Airflow itself noted about a task, the oldest first: lost heartbeats, states that do not fit."""
        asked = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "order_by": "when", "limit": 100}
        noted = self._call("GET", "/api/v2/eventLogs", params=asked)["event_logs"]
        return [f"{note['event']}: {note['extra'] or ''}" for note in noted]

    def note(self, dag_id: str, run_id: str) -> str | None:
        """The note of a run."""
        found: str | None = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["note"]
        return found

    def question(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any] | None:
        """What a task has asked a person for a while, as *Required Actions* shows it; None where it does not.

        An answer that comes before the scheduler knows that the task waits is lost, and the task is tried again.
        """
        if (run_id, task_id) not in self.asking(dag_id, seconds=THINKING_SECONDS):
            return None
        asked: dict[str, Any] = self._call("GET", _question_path(dag_id, run_id, task_id))
        return asked

    def asking(self, dag_id: str, *, seconds: float) -> set[tuple[str, str]]:
        """Run and task of each question of a DAG that nobody has answered for so long since its task last started."""
        path, unanswered = f"/api/v2/dags/{dag_id}/dagRuns/~/hitlDetails", {"response_received": False, "limit": 100}
        since = datetime.now(UTC) - timedelta(seconds=seconds)
        details = self._call("GET", path, params=unanswered)["hitl_details"]
        asked = [(one["task_instance"], one["created_at"]) for one in details]
        return {
            (task["dag_run_id"], task["task_id"])
            for task, created in asked
            if task["state"] == "awaiting_input"
            and all(datetime.fromisoformat(moment) < since for moment in (created, task["start_date"]))
        }

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str, **params: Any) -> None:
        """Answer what a task asks; `params` are the fields of its form."""
        body = {"chosen_options": [option], "params_input": params}
        answer = self._answer("PATCH", _question_path(dag_id, run_id, task_id), json=body)
        if answer.status_code != 409:  # answered by the request before this one, whose own answer was lost
            self._content(answer)

    def answer_until_ended(self, dag_id: str, run_id: str, task_id: str, option: str, **params: Any) -> None:
        """Answer what a task asks, and again what it asks when Airflow tries it again, until it has ended."""

        def ended() -> TaskRun | None:
            if self.question(dag_id, run_id, task_id):
                self.answer(dag_id, run_id, task_id, option, **params)
            return self._ended(dag_id, run_id, task_id)

        eventually(ended, RUN_SECONDS, pause=PAUSE)

    def asset_events(self, dag_id: str, run_id: str, task_id: str) -> int:
        """How many events of assets came from a task."""
        source = {"source_dag_id": dag_id, "source_run_id": run_id, "source_task_id": task_id}
        count: int = self._call("GET", "/api/v2/assets/events", params=source)["total_entries"]
        return count

    def finished(self, dag_id: str, run_id: str) -> DagRun:
        """Wait until a run is over, and return it."""
        run: DagRun = eventually(lambda: self._over(dag_id, run_id), RUN_SECONDS, pause=PAUSE)
        return run

    def finished_task(self, dag_id: str, run_id: str, task_id: str) -> TaskRun:
        """Wait until an unmapped task has ended, and return it."""
        task: TaskRun = eventually(lambda: self._ended(dag_id, run_id, task_id), RUN_SECONDS, pause=PAUSE)
        return task

    def _ended(self, dag_id: str, run_id: str, task_id: str) -> TaskRun | None:
        task = self.task(dag_id, run_id, task_id)
        return task if task.state in ENDED else None

    def _over(self, dag_id: str, run_id: str) -> DagRun | None:
        run = self.dag_run(dag_id, run_id)
        return run if run.is_over else None


def _question_path(dag_id: str, run_id: str, task_id: str) -> str:
    """Where Airflow keeps what an unmapped task asks."""
    return f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"


class LiveAirflow:
    """Airflow's processes on a database that outlives them; it begins as a copy of a migrated one."""

    def __init__(
        self,
        state: Path,
        world: World,
        database: Path,
        *,
        dags: Collection[str],
        retries_at_once: bool = False,
        **environment: str,
    ) -> None:
        """Have the DAGs of these names alone: Airflow reads the files of all DAGs at its start and later again."""
        self._state = state
        self.url = f"http://127.0.0.1:{free_port()}"
        self._environment = {
            **airflow_environment(state, world.settings, world.aws.url, self.url),
            **QUICK,
            "AIRFLOW__CORE__DAGS_FOLDER": str(_folder_of(dags, state / "dags")),
            **environment,
        }
        home = Path(self._environment["AIRFLOW_HOME"])
        shutil.copyfile(database, home / "airflow.db")
        if retries_at_once:
            (home / "config").mkdir()
            (home / "config" / "airflow_local_settings.py").write_text(RETRY_AT_ONCE)
        passwords = Path(self._environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
        users = self._environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(",")
        passwords.write_text(json.dumps({user.partition(":")[0]: PASSWORD for user in users}) + "\n")
        self._started: list[BackgroundProcess] = []
        self._database = home / "airflow.db"

    def start(self, *command: str) -> None:
        """Start all components, or the named one, on the same database."""
        name = f"{command[0] if command else 'airflow'}-{len(self._started)}"
        program = ("airflow", *command) if command else ("tests.support.live_standalone",)
        log = self._state / "logs" / f"{name}.log"
        self._started.append(
            BackgroundProcess.start(name, [sys.executable, "-m", *program], self._environment, ROOT, log)
        )

    def operator(self) -> Operator:
        """Sign in as soon as the API answers."""
        signed_in: Operator = eventually(self._sign_in, START_SECONDS, pause=PAUSE)
        return signed_in

    def kill(self, part: str = "") -> int:
        """SIGKILL every process, or those of one component, at once; return how many there were."""
        return self.kill_these(self.processes(part))

    def processes(self, part: str) -> list[psutil.Process]:
        """The processes with this text in their command line."""
        return [process for process in self._members() if part in command_of(process)]

    def kill_these(self, victims: list[psutil.Process], number: int = signal.SIGKILL) -> int:
        """Send a signal to each process and wait for their end; return how many there were."""
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        psutil.wait_procs(victims, timeout=10)
        return len(victims)

    def listening_on(self) -> set[str]:
        """The addresses on which any process takes connections."""
        found = set()
        for process in self._members():
            with suppress(psutil.NoSuchProcess):  # a task has ended, or a DAG file is read
                connections = process.net_connections()
                found |= {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
        return found

    def let_be_due(self, dag_id: str, tick: datetime) -> None:
        """Let a time of a DAG's schedule be the next one, as if it had been until now: the scheduler starts its run."""
        columns = ("next_dagrun", "next_dagrun_create_after")
        columns += ("next_dagrun_data_interval_start", "next_dagrun_data_interval_end")
        values = ", ".join(f"{column} = :tick" for column in columns)
        moment = tick.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        with closing(sqlite3.connect(self._database, timeout=60)) as database, database:
            database.execute(f"UPDATE dag SET {values} WHERE dag_id = :dag", {"tick": moment, "dag": dag_id})

    def end(self) -> None:
        """End everything: at once, for nothing of it is needed any more."""
        self.kill()
        for process in reversed(self._started):
            process.end()

    def _sign_in(self) -> Operator | None:
        assert self._started[-1].is_alive(), self._started[-1].last_lines()
        with suppress(httpx.HTTPError, AirflowError):
            return Operator(self.url, USER, PASSWORD)
        return None

    def _members(self) -> list[psutil.Process]:
        sessions, members = {process.pid for process in self._started}, {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) in sessions:
                    members.update({found.pid: found for found in [process, *process.children(recursive=True)]})
        return list(members.values())


def _folder_of(dags: Collection[str], folder: Path) -> Path:
    """A new folder with the files of some DAGs."""
    folder.mkdir()
    for name in dags:
        (folder / f"{name}.py").symlink_to(ROOT / "dags" / f"{name}.py")
    return folder


def command_of(process: psutil.Process) -> str:
    """A process's command line, empty where it has ended."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def conf_of(version: Any, **changes: Any) -> dict[str, Any]:
    """A run conf that trains once on a published version and registers the model; `changes` come as section__field."""
    return {
        "dataset.name": version.name,
        "dataset.version": version.version,
        "training.mode": "train",
        "training.hyperparameters.num_layers": 20,
        "training.hyperparameters.image_shape": "3,28,28",
        "training.hyperparameters.mini_batch_size": 4,
        "training.hyperparameters.epochs": 5,
        "incremental.enabled": False,
        "promotion.minimum_accuracy": 0.0,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }

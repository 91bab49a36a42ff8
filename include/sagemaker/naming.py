"""Names that a retried task finds again.

A job's name is a pure function of what started the job, so a task that lost track of its job computes the same name and
attaches. The name of a model or an endpoint configuration is a pure function of its content: every run gives the same
content the same name, and changed content another one. Lengths and patterns: API reference of CreateTrainingJob,
CreateHyperParameterTuningJob, CreateModel, CreateEndpointConfig.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

LONGEST_NAME = 63
LONGEST_TUNING_NAME = 32
HASH_LENGTH = 10


class TaskInstance(Protocol):
    """What Airflow knows of the task that runs."""

    dag_id: str
    run_id: str
    task_id: str


@dataclass(frozen=True)
class Run:
    """The run that starts jobs and writes a report; `task` is which of its tasks does, empty where that is not told."""

    dag_id: str
    run_id: str
    task: str = field(default="", compare=False)

    @classmethod
    def of_task(cls, task: TaskInstance) -> Self:
        """The run of a task; a mapped task is called `training.train/3`."""
        index = getattr(task, "map_index", None)
        mapped = f"/{index}" if index is not None and index >= 0 else ""
        return cls(task.dag_id, task.run_id, f"{task.task_id}{mapped}")

    @property
    def name(self) -> str:
        """A short name for S3 prefixes, the same for every task of the run."""
        return readable_name(self.run_id, self.dag_id, self.run_id)


def job_name(
    *,
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: int = -1,
    attempt: int = 1,
    longest: int = LONGEST_NAME,
) -> str:
    """The name of the job that one task instance starts; `attempt` grows only past jobs that failed or were stopped.

    `map_index` is -1 where the task is not mapped. Give LONGEST_TUNING_NAME as `longest` for a tuning job, whose
    training jobs append to its name.
    """
    task = task_id.rpartition(".")[2]
    full = f"{dag_id}-{task}"
    prefix = full if len(full) + HASH_LENGTH < longest else task
    return readable_name(prefix, dag_id, run_id, task_id, str(map_index), str(attempt), longest=longest)


def readable_name(prefix: str, *identity: str, longest: int = LONGEST_NAME) -> str:
    """`prefix` as far as it fits, then a hash of `identity`: `[a-zA-Z0-9](-*[a-zA-Z0-9])*`, at most `longest` long."""
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:HASH_LENGTH]
    slug = re.sub(r"[^a-zA-Z0-9]+", "-", prefix)[: longest - HASH_LENGTH - 1].strip("-")
    return f"{slug}-{digest}" if slug else digest


def content_name(prefix: str, body: Mapping[str, Any], *, longest: int = LONGEST_NAME) -> str:
    """`prefix` as far as it fits, then a hash of the whole request `body`: equal bodies, equal names.

    Leave out of `body` what is not content: tags tell which run asked for it. The order of keys does not count.
    """
    return readable_name(prefix, json.dumps(body, sort_keys=True), longest=longest)


def machine_of(stream: str) -> str:
    """The machine that writes a log stream: `algo-1` of `JOB/algo-1-SECONDS`.

    A machine has a stream for each time it was started: a spot job may have been restarted.
    """
    name = stream.rpartition("/")[2]
    machine, _, started = name.rpartition("-")
    return machine if "-" in machine and started.isdecimal() else name


def by_machine(stream: str) -> tuple[int, str, str]:
    """A key that sorts log streams by their machine's number, then by when the machine was started."""
    machine = machine_of(stream)
    number = machine.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0, machine, stream

"""Names that a retried task finds again.

A name is a pure function of what started the job, so a task that lost track of its job computes the same name and
attaches. Lengths and patterns: API reference of CreateTrainingJob, CreateHyperParameterTuningJob, CreateEndpointConfig.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

LONGEST_NAME = 63
LONGEST_TUNING_NAME = 32
HASH_LENGTH = 10


@dataclass(frozen=True)
class Run:
    """The run that starts jobs and writes a report."""

    dag_id: str
    run_id: str

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

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
class JobOrigin:
    """The task instance that starts a job; `map_index` is -1 where the task is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def job_name(self, attempt: int = 1, *, longest: int = LONGEST_NAME) -> str:
        """A name for a training or transform job: the task readable, the run and the attempt in a hash."""
        task = self.task_id.rpartition(".")[2]
        identity = (self.dag_id, self.run_id, self.task_id, str(self.map_index), str(attempt))
        return readable_name(f"{self.dag_id}-{task}", identity, longest=longest)

    def tuning_name(self, attempt: int = 1) -> str:
        """A name for a tuning job, whose training jobs append to it: at most 32 characters."""
        task = self.task_id.rpartition(".")[2]
        identity = (self.dag_id, self.run_id, self.task_id, str(self.map_index), str(attempt))
        return readable_name(task, identity, longest=LONGEST_TUNING_NAME)

    @property
    def run_name(self) -> str:
        """A short name of the run, for S3 prefixes; the same for every task of the run."""
        return readable_name(self.run_id, (self.dag_id, self.run_id), longest=LONGEST_NAME)


def readable_name(prefix: str, identity: tuple[str, ...], *, longest: int = LONGEST_NAME) -> str:
    """`prefix` as far as it fits, then a hash of `identity`: `[a-zA-Z0-9](-*[a-zA-Z0-9])*`, at most `longest` long."""
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:HASH_LENGTH]
    slug = re.sub(r"[^a-zA-Z0-9]+", "-", prefix)[: longest - HASH_LENGTH - 1].strip("-")
    return f"{slug}-{digest}" if slug else digest

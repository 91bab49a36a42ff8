"""Names and tags that a retried task, a later run and a clean-up find again; and the network and the key of all of it.

A job's name is a pure function of what started the job, so a task that lost track of its job computes the same name and
attaches. The name of a model or an endpoint configuration is a pure function of its content: every run gives the same
content the same name, and changed content another one. Tags show who made something, in which run, from which data; the
names of this project's own jobs follow from them.

Sources: API reference of CreateTrainingJob, CreateHyperParameterTuningJob, CreateModel, CreateEndpointConfig and Tag
(lengths and patterns), VpcConfig, CreateModel and ResourceConfig (`VolumeKmsKeyId`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from include.sagemaker.containers import LOCAL_STORAGE_FAMILIES

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

LONGEST_NAME = 63
LONGEST_TUNING_NAME = 32
HASH_LENGTH = 10
MOST_ATTEMPTS = 50
NAMED_BY_CONTENT = re.compile(rf"-[0-9a-f]{{{HASH_LENGTH}}}$")


class TaskInstance(Protocol):
    """What Airflow knows of the task that runs."""

    dag_id: str
    run_id: str
    task_id: str


@dataclass(frozen=True)
class Run:
    """The run that starts jobs and writes a report; `task` is which of its tasks does, empty if that is unknown."""

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

    `map_index` is -1 if the task is not mapped. Give LONGEST_TUNING_NAME as `longest` for a tuning job, whose
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

    Leave out of `body` what is not content: tags show which run asked for it. The order of keys does not count.
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


class TagSettings(Protocol):
    """What an installation's settings say about tags."""

    @property
    def owner(self) -> str:
        """Who owns what is created; empty: no tag of this name."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Further tags on everything."""


class TaggedDataset(Protocol):
    """The dataset version that something is made from."""

    @property
    def name(self) -> str:
        """The dataset's name."""

    @property
    def version(self) -> str:
        """Which of its versions."""


def tags(settings: TagSettings, run: Run, dataset: TaggedDataset | None = None) -> list[dict[str, str]]:
    """Tags on everything a run creates: who, which run and task of it, which data."""
    pairs = {
        **settings.tags,
        "dag": run.dag_id,
        "run": run.run_id,
        **({"task": run.task} if run.task else {}),
        **({"dataset-version": f"{dataset.name}/{dataset.version}"} if dataset else {}),
        **({"owner": settings.owner} if settings.owner else {}),
    }
    return [{"Key": key, "Value": tag_value(value)} for key, value in pairs.items()]


def tag_value(value: str) -> str:
    """A text as tags and model metadata allow it: letters, digits, spaces and `_.:/=+-@`, at most 256."""
    allowed = "".join(letter if letter.isalnum() or letter in " _.:/=+-@" else "_" for letter in value)
    return allowed[:256]


def tags_of(sagemaker: SageMakerClient, arn: str) -> dict[str, str]:
    """The tags of a resource."""
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def is_named_by_content(name: str, tags: Mapping[str, str]) -> bool:
    """Whether a run of this project made the model or configuration, which makes it again when it is needed again."""
    return {"dag", "run"} <= tags.keys() and NAMED_BY_CONTENT.search(name) is not None


def attempts_of_task(tags: Mapping[str, str], longest: int = LONGEST_NAME) -> list[str]:
    """The names that a task gives its jobs, attempt after attempt; none if the tags name no task."""
    if not {"dag", "run", "task"} <= tags.keys():
        return []
    task, _, index = tags["task"].partition("/")
    map_index = int(index) if index.isdecimal() else -1
    return [
        job_name(
            dag_id=tags["dag"], run_id=tags["run"], task_id=task, map_index=map_index, attempt=attempt, longest=longest
        )
        for attempt in range(1, MOST_ATTEMPTS + 1)
    ]


def task_of_job(name: str, tags: Mapping[str, str], longest: int = LONGEST_NAME) -> str | None:
    """Where the job's name follows from its tags: its task's id, a mapped one's as `TASK_INDEX`; else None.

    A tag may hold less than the id did (256 characters, no brackets). The name proves that it holds all of it, and that
    the job is this project's.
    """
    if name not in attempts_of_task(tags, longest):
        return None
    return tags["task"].replace("/", "_")


class NetworkSettings(Protocol):
    """What an installation's settings say about both."""

    @property
    def subnets(self) -> tuple[str, ...]:
        """Subnets of one VPC; empty: no VPC."""

    @property
    def security_group_ids(self) -> tuple[str, ...]:
        """Its security groups."""

    @property
    def network_isolation(self) -> bool:
        """Whether containers reach no network at all."""

    @property
    def kms_key_id(self) -> str:
        """The key that encrypts volumes and output; empty: AWS's own."""


def network(settings: NetworkSettings) -> dict[str, Any]:
    """`EnableNetworkIsolation` and `VpcConfig` of jobs and models; sorted, as the order means nothing to AWS."""
    isolation = {"EnableNetworkIsolation": settings.network_isolation}
    if not settings.subnets:
        return isolation
    groups = sorted(set(settings.security_group_ids))
    return {**isolation, "VpcConfig": {"Subnets": sorted(set(settings.subnets)), "SecurityGroupIds": groups}}


def encryption(settings: NetworkSettings) -> dict[str, str]:
    """`KmsKeyId` of what is written to S3 and of an endpoint's volumes; empty if no key is set."""
    return {"KmsKeyId": settings.kms_key_id} if settings.kms_key_id else {}


def volume_encryption(settings: NetworkSettings, instance_type: str) -> dict[str, str]:
    """`VolumeKmsKeyId` of a job's volume; empty if no key is set, or if the machine encrypts its own disk."""
    if not settings.kms_key_id or instance_type.startswith(LOCAL_STORAGE_FAMILIES):
        return {}
    return {"VolumeKmsKeyId": settings.kms_key_id}

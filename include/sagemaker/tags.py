"""Which resources of SageMaker this project created, told by their tags and names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from include.sagemaker.naming import HASH_LENGTH, LONGEST_NAME, job_name

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

MOST_ATTEMPTS = 50
NAMED_BY_CONTENT = re.compile(rf"-[0-9a-f]{{{HASH_LENGTH}}}$")


def tags_of(sagemaker: SageMakerClient, arn: str) -> dict[str, str]:
    """The tags of a resource."""
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def pages_of(sagemaker: SageMakerClient, action: str, field: str, **filters: Any) -> Iterator[Mapping[str, Any]]:
    """The summaries of a List action."""
    for page in sagemaker.get_paginator(action).paginate(**filters):  # type: ignore[call-overload]
        yield from page[field]


def is_named_by_content(name: str, tags: Mapping[str, str]) -> bool:
    """Whether a run of this project made the model or configuration, which makes it again when it is needed again."""
    return {"dag", "run"} <= tags.keys() and NAMED_BY_CONTENT.search(name) is not None


def task_of_job(name: str, tags: Mapping[str, str], longest: int = LONGEST_NAME) -> str | None:
    """Where the job's name follows from its tags: its task's id, a mapped one's as `TASK_INDEX`; else None.

    A tag may hold less than the id did (256 characters, no brackets). The name proves that it holds all of it, and that
    the job is this project's.
    """
    if not {"dag", "run", "task"} <= tags.keys():
        return None
    task, _, index = tags["task"].partition("/")
    map_index = int(index) if index.isdecimal() else -1
    names = (
        job_name(
            dag_id=tags["dag"],
            run_id=tags["run"],
            task_id=task,
            map_index=map_index,
            attempt=attempt,
            longest=longest,
        )
        for attempt in range(1, MOST_ATTEMPTS + 1)
    )
    if name not in names:
        return None
    return f"{task}_{map_index}" if map_index >= 0 else task

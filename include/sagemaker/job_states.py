"""How jobs are doing: one List call tells which of many have changed, and only those are described.

Sources: API reference of ListTrainingJobs, ListHyperParameterTuningJobs, ListTransformJobs (`StatusEquals`,
`CreationTimeAfter`, at most 100 summaries a page).
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from include.sagemaker.answers import passing_fault
from include.sagemaker.job_kinds import JobKind

log = logging.getLogger(__name__)

DESCRIBE_AGAIN_SECONDS = 600.0
"""A job that the List calls say nothing new about is described that often nevertheless."""


TELLING = ("SecondaryStatus", "TrainingJobStatusCounters", "ObjectiveStatusCounters", "LastModifiedTime")
"""Fields of a List action's summary that differ from the description when there is something new to describe."""


class Job(Protocol):
    """What must be known of a job that is waited for."""

    name: str
    description: Mapping[str, Any] | None
    described_at: float


J = TypeVar("J", bound=Job)


class JobStates:
    """Describes the jobs of one kind that have changed since they were last described.

    One job alone is described at every look. Several are listed: a List call with the status InProgress names all jobs
    that run; one that is missing there, or whose summary has changed, is described. Where the account runs so many
    other jobs that the list has more pages than there are jobs to look at, and where the role may not list, each job
    is described.
    """

    def __init__(self, sagemaker: Any, kind: JobKind) -> None:
        self._sagemaker = sagemaker
        self._kind = kind
        self._may_list = kind.listed
        self._pages = 1

    async def changed(self, jobs: Sequence[J]) -> AsyncIterator[tuple[J, Mapping[str, Any] | Exception]]:
        """Each job that may have changed, with its description, or with the error that AWS will always answer.

        Raises botocore's errors that pass: ask again later.
        """
        from botocore.exceptions import ClientError  # noqa: PLC0415 - DAG files load this module

        for job in await self._candidates(jobs):
            answer: Mapping[str, Any] | Exception
            try:
                answer = await getattr(self._sagemaker, self._kind.describe)(**self._kind.named(job.name))
                job.described_at = time.monotonic()
            except ClientError as error:
                if passing_fault(error):
                    raise
                answer = error
            yield job, answer

    async def _candidates(self, jobs: Sequence[J]) -> list[J]:
        known = [job for job in jobs if job.description is not None]
        if not self._may_list or len(known) <= self._pages:
            return list(jobs)
        running = await self._running(known)
        if running is None:
            return list(jobs)
        return [job for job in jobs if job.description is None or self._may_have_changed(job, running.get(job.name))]

    def _may_have_changed(self, job: Job, summary: Mapping[str, Any] | None) -> bool:
        if summary is None or time.monotonic() - job.described_at > DESCRIBE_AGAIN_SECONDS:
            return True
        described = job.description or {}
        return any(summary[name] != described[name] for name in TELLING if name in summary and name in described)

    async def _running(self, jobs: Sequence[Job]) -> dict[str, Mapping[str, Any]] | None:
        """Summaries of all jobs that run, by name; None where the role may not list them."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - DAG files load this module

        oldest = min(job.description["CreationTime"] for job in jobs if job.description)
        asked = {"StatusEquals": "InProgress", "CreationTimeAfter": oldest - timedelta(seconds=1), "MaxResults": 100}
        summaries: dict[str, Mapping[str, Any]] = {}
        pages = 0
        token: dict[str, str] = {}
        try:
            while pages == 0 or token:
                page = await getattr(self._sagemaker, self._kind.list)(**asked, **token)
                summaries |= {summary[self._kind.name_field]: summary for summary in page[self._kind.summaries]}
                pages += 1
                token = {"NextToken": page["NextToken"]} if page.get("NextToken") else {}
        except ClientError as error:
            if passing_fault(error):
                raise
            log.warning("AWS does not list the %ss, so that each is described by itself: %s", self._kind.noun, error)
            self._may_list = False
            return None
        self._pages = pages
        return summaries

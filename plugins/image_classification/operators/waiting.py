"""What all operators for SageMaker share: they wait without a worker and point at their page in the console."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from image_classification.context import RunningTask
from image_classification.links import (
    ConsoleLink,
    LogLink,
    ReportsLink,
    job_log,
    job_page,
    jobs_page,
    s3_page,
)
from include.sagemaker.api import JobKind

GRACE = timedelta(minutes=5)
"""How much later than the trigger Airflow itself gives up on a deferred task."""


class WaitingOperator(BaseOperator):
    """Waits for something in SageMaker without holding a worker.

    Airflow 3.3 applies `execution_timeout` to what runs on a worker only, so the trigger keeps it.

    :param inputs: documents of earlier tasks (templated)
    """

    template_fields = ("inputs",)
    operator_extra_links: Collection[BaseOperatorLink] = (ConsoleLink(), LogLink(), ReportsLink())
    ui_color = "#f2e6d9"
    kind: ClassVar[JobKind]

    def __init__(self, *, inputs: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inputs = inputs
        self.console_url = ""
        self.log_url = ""
        self.jobs_url = ""
        self.reports_url = ""

    def point_at(self, running: RunningTask, name: str) -> None:
        """Let the task's links lead to the job or endpoint of this name, and to its run's jobs and reports."""
        settings = running.settings
        self.console_url = job_page(settings, self.kind, name)
        self.log_url = job_log(settings, self.kind, name)
        self.jobs_url = jobs_page(running.run.dag_id, running.run.run_id)
        self.reports_url = s3_page(
            settings, f"s3://{settings.output_bucket}/{settings.report_prefix(running.run.name)}"
        )

    def wait_for(self, running: RunningTask, name: str, method: str, **kwargs: Any) -> NoReturn:
        """Defer until the job or endpoint is final, then continue with `method` and these `kwargs`."""
        from image_classification.triggers.job import SageMakerJobTrigger

        limit = self.execution_timeout
        trigger = SageMakerJobTrigger(
            kind=self.kind.action,
            name=name,
            poll_seconds=running.settings.poll_seconds,
            limit_seconds=limit.total_seconds() if limit else None,
            access=running.access.as_fields(),
            prices=running.settings.prices,
        )
        self.defer(trigger=trigger, method_name=method, kwargs=kwargs, timeout=limit + GRACE if limit else None)

    def check_event(self, event: Mapping[str, Any]) -> str:
        """The name of what was waited for. Raises if the wait ended without a final status."""
        name = str(event["name"])
        if event["status"] == "TimedOut":
            limit = self.execution_timeout
            raise AirflowFailException(f"The {self.kind.noun} {name} took longer than {limit} and is being stopped.")
        if event["status"] == "Unknown":
            raise self.forgotten(name)
        if event["status"] == "Unreachable":
            raise AirflowException(f"The {self.kind.noun} {name} cannot be watched: {event['message']}")
        return name

    def forgotten(self, name: str) -> AirflowFailException:
        """The error of a job that this task started and AWS does not have any more."""
        return AirflowFailException(
            f"AWS does not have the {self.kind.noun} {name} any more: it was deleted, or the local AWS was started "
            "again, which keeps nothing. It is not started again by itself: start a new run, or clear this task."
        )

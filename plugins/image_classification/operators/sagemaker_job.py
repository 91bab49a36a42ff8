"""A job that costs money: started once, found again by its name, waited for without a worker, stopped when killed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralError, TaskDeferralTimeout

from image_classification.aws import AwsAccess
from image_classification.deployment_settings import load_settings
from image_classification.job_kinds import ACTIVE, JobKind
from image_classification.links import ConsoleLink, console_url
from image_classification.operators.job_failure import job_failure, last_log_lines, refused_request

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.settings import Settings
    from include.training.naming import Run

GRACE = timedelta(minutes=5)
"""How much later than the trigger Airflow itself gives up on a deferred task."""


@dataclass(frozen=True)
class JobOrder:
    """What a request is built from: name, run, deployment, and what earlier tasks handed over."""

    name: str
    run: Run
    access: AwsAccess
    settings: Settings
    inputs: Mapping[str, Any]


Request = Callable[[JobOrder], Mapping[str, Any]]


class SageMakerJobOperator(BaseOperator):
    """Starts a job, or attaches to the one that an earlier try of the same task started.

    The name follows from what the job is for (DAG, run, task, map index) and an attempt number that grows only past
    jobs that failed or were stopped, so that there is never a second job while the first may live.

    :param request: builds the body of the create call, with the name in it; raising AirflowSkipException skips the task
    :param inputs: documents of earlier tasks (templated), given to `request` and to the result
    """

    template_fields = ("inputs",)
    operator_extra_links = (ConsoleLink(),)
    ui_color = "#f2e6d9"
    kind: ClassVar[JobKind]
    longest_name: ClassVar[int] = 63

    def __init__(self, *, request: Request, inputs: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.request = request
        self.inputs = inputs
        self.console_url = ""
        self._started: tuple[AwsAccess, str] | None = None

    def result(self, sagemaker: Any, name: str, description: Mapping[str, Any]) -> dict[str, Any]:
        """The small JSON document that the task hands on."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """Attach or create, then wait deferred; a job that is done already is handed on at once."""
        settings = load_settings()
        access = AwsAccess.of(settings)
        sagemaker = access.client("sagemaker")
        name, description = self._attach_or_create(sagemaker, settings, context)
        self._point_at(access, name)
        status = self.kind.status(description)
        if status == self.kind.done:
            self.log.info("The %s %s is done already: using its result.", self.kind.noun, name)
            return self.result(sagemaker, name, description)
        method = "start_next_attempt" if status == "Stopping" else "execute_complete"
        return self._wait(access, name, settings.poll_seconds, method)

    def start_next_attempt(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """The job of an earlier try has stopped: now the next one may start."""
        self.log.info("The %s %s is %s.", self.kind.noun, event["name"], event["status"])
        return self.execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Hand on the result of the finished job, or say what went wrong with it."""
        access = AwsAccess.of(load_settings())
        sagemaker, name = access.client("sagemaker"), str(event["name"])
        self._point_at(access, name)
        if event["status"] == "TimedOut":
            raise AirflowFailException(
                f"The {self.kind.noun} {name} was stopped: it took longer than {self.execution_timeout}."
            )
        if event["status"] == "Unreachable":
            raise AirflowException(f"The {self.kind.noun} {name} cannot be watched: {event['message']}")
        description = getattr(sagemaker, self.kind.describe)(**self.kind.named(name))
        if self.kind.status(description) == self.kind.done:
            return self.result(sagemaker, name, description)
        raise job_failure(self.kind, name, description, last_log_lines(access.client("logs"), self.kind, name))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume as Airflow does; where its waiting failed for good, stop the job nobody waits for any more."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self._stop_what_lives(context)
            raise
        except TaskDeferralError:
            if context["ti"].try_number > context["ti"].max_tries:
                self._stop_what_lives(context)
            raise

    def on_kill(self) -> None:
        """Stop the job: the task was killed while it ran on a worker."""
        if self._started is not None:
            access, name = self._started
            self._stop(access.client("sagemaker"), name)

    def _attach_or_create(self, sagemaker: Any, settings: Settings, context: Context) -> tuple[str, Mapping[str, Any]]:
        from include.training.naming import Run

        run, access = Run(self.dag_id, context["ti"].run_id), AwsAccess.of(settings)
        for attempt in itertools.count(1):
            name = self._name(context, attempt)
            body = self.request(JobOrder(name, run, access, settings, self.inputs))
            description = self._find(sagemaker, name)
            if description is None:
                description = self._create(sagemaker, access, name, body)
            elif self._is_over(description):
                self.log.info("The %s %s is %s.", self.kind.noun, name, self.kind.status(description))
                continue
            else:
                self.log.info("Attaching to the %s %s, started earlier.", self.kind.noun, name)
            return name, description
        raise AssertionError("attempts are endless")

    def _create(self, sagemaker: Any, access: AwsAccess, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        from botocore.exceptions import ClientError

        self._started = (access, name)
        try:
            getattr(sagemaker, self.kind.create)(**body)
            self.log.info("Started the %s %s.", self.kind.noun, name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUse":
                raise refused_request(self.kind, name, error) from error
            self.log.info("The %s %s was started by another try at the same moment.", self.kind.noun, name)
        description: Mapping[str, Any] = getattr(sagemaker, self.kind.describe)(**self.kind.named(name))
        return description

    def _find(self, sagemaker: Any, name: str) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            description: Mapping[str, Any] = getattr(sagemaker, self.kind.describe)(**self.kind.named(name))
        except ClientError as error:
            if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
                return None
            raise
        return description

    def _is_over(self, description: Mapping[str, Any]) -> bool:
        return self.kind.status(description) not in ACTIVE | {self.kind.done}

    def _name(self, context: Context, attempt: int) -> str:
        from include.training.naming import job_name

        ti = context["ti"]
        return job_name(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=ti.map_index if ti.map_index is not None else -1,
            attempt=attempt,
            longest=self.longest_name,
        )

    def _point_at(self, access: AwsAccess, name: str) -> None:
        self._started = (access, name)
        self.console_url = console_url(access.region_name or "", self.kind.console_page, name)

    def _wait(self, access: AwsAccess, name: str, poll_seconds: float, method: str) -> NoReturn:
        from image_classification.triggers.sagemaker_job import SageMakerJobTrigger

        limit = self.execution_timeout
        self.defer(
            trigger=SageMakerJobTrigger(
                kind=self.kind.action,
                name=name,
                poll_seconds=poll_seconds,
                deadline=time.time() + limit.total_seconds() if limit else None,
                access=access.as_fields(),
            ),
            method_name=method,
            timeout=limit + GRACE if limit else None,
        )

    def _stop_what_lives(self, context: Context) -> None:
        sagemaker = AwsAccess.of(load_settings()).client("sagemaker")
        for attempt in itertools.count(1):
            name = self._name(context, attempt)
            description = self._find(sagemaker, name)
            if description is None:
                return
            if self.kind.status(description) in ACTIVE:
                self._stop(sagemaker, name)

    def _stop(self, sagemaker: Any, name: str) -> None:
        from botocore.exceptions import ClientError

        try:
            getattr(sagemaker, self.kind.stop)(**self.kind.named(name))
            self.log.info("Stopped the %s %s.", self.kind.noun, name)
        except ClientError as error:
            self.log.warning("The %s %s could not be stopped: %s", self.kind.noun, name, error)

"""A job that costs money: started once, found again by its name, waited for without a worker, stopped when killed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralError, TaskDeferralTimeout

from image_classification.context import AwsAccess
from image_classification.defaults import JOBS_POOL
from image_classification.deployment_settings import load_settings
from image_classification.operators.job_failure import (
    job_failure,
    last_log_lines,
    refused_request,
    was_stopped_by_hand,
)
from image_classification.operators.lineage import inputs_of, operator_lineage, outputs_of
from image_classification.operators.quota import PATIENCE, AccountFullError, seconds_to_wait
from image_classification.operators.waiting import WaitingOperator
from include.sagemaker.job_kinds import ACTIVE

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.sagemaker.naming import Run
    from include.settings import Settings


@dataclass(frozen=True)
class JobOrder:
    """What a request is built from: name, run, deployment, and what earlier tasks handed over."""

    name: str
    run: Run
    access: AwsAccess
    settings: Settings
    inputs: Mapping[str, Any]


STOPPING_SECONDS = 300.0
"""How long after a clear its kill may take to end the job: SageMaker gives a container two minutes."""

Request = Callable[[JobOrder], Mapping[str, Any]]


class SageMakerJobOperator(WaitingOperator):
    """Starts a job, or attaches to the one that an earlier try of the same task started.

    The name follows from what the job is for (DAG, run, task, map index) and an attempt number that grows only past
    jobs that failed or were stopped, so that there is never a second job while the first may live. Past a job that
    would fail the same way again it grows only when a person asks for it, by clearing the task.

    :param request: builds the body of the create call, with the name in it; raising AirflowSkipException skips the task
    """

    longest_name: ClassVar[int] = 63

    def __init__(self, *, request: Request, pool: str = JOBS_POOL, **kwargs: Any) -> None:
        super().__init__(pool=pool, **kwargs)
        self.request = request
        self._started: tuple[AwsAccess, str] | None = None
        self._done: Mapping[str, Any] | None = None

    def result(self, access: AwsAccess, description: Mapping[str, Any]) -> dict[str, Any]:
        """The small JSON document that the task hands on."""
        raise NotImplementedError

    def failure(self, access: AwsAccess, name: str, description: Mapping[str, Any]) -> AirflowException:
        """The error of a job that did not complete, with the end of its log."""
        return job_failure(self.kind, name, description, last_log_lines(access.client("logs"), self.kind, name))

    def execute(self, context: Context, waited: float = 0.0) -> dict[str, Any]:
        """Attach or create, then wait deferred; a job that is done already is handed on at once.

        If the account is full, the task waits for its turn, deferred too; `waited` is how many seconds it has already.
        """
        settings = load_settings()
        access = AwsAccess.of(settings)
        try:
            name, description, created = self._attach_or_create(access, settings, context)
        except AccountFullError as full:
            return self._wait_for_its_turn(full, settings, waited)
        self._started = (access, name)
        self.point_at(name, settings, context)
        if self.kind.status(description) == self.kind.done:
            self.log.info("The %s %s is done already: using its result.", self.kind.noun, name)
            return self._hand_on(access, description)
        from include.sagemaker.answers import time_at_aws

        attached = None if created else time_at_aws(description)
        return self.wait_for(access, name, settings, "execute_complete", attached=attached)

    def execute_when_free(
        self,
        context: Context,
        event: Any,  # noqa: ARG002
        waited: float = 0.0,
        full_since: float | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Try again whether the account has room for the job; `full_since`, of earlier versions, is not used."""
        return self.execute(context, waited)

    def execute_complete(
        self, context: Context, event: Mapping[str, Any], attached: float | None = None
    ) -> dict[str, Any]:
        """Hand on the result of the finished job, or say what went wrong with it; `attached` is when it was found."""
        settings, name = load_settings(), self.check_event(event)
        access = AwsAccess.of(settings)
        self.point_at(name, settings, context)
        description = self._find(access.client("sagemaker"), name)
        if description is None:
            raise self.forgotten(name)
        if self.kind.status(description) == self.kind.done:
            return self._hand_on(access, description)
        if _stopped_for_an_earlier_try(self.kind.status(description), description, attached):
            self.log.info("The %s %s was stopped with the try that started it.", self.kind.noun, name)
            return self.execute(context)
        raise self.failure(access, name, description)

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

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002
        """What the finished job read and wrote, an OperatorLineage; asked for by the OpenLineage provider."""
        return operator_lineage(inputs_of(self._done or {}), outputs_of(self._done or {}))

    def _hand_on(self, access: AwsAccess, description: Mapping[str, Any]) -> dict[str, Any]:
        self._done = description
        return self.result(access, description)

    def on_kill(self) -> None:
        """Stop the job: the task was killed while it ran on a worker."""
        if self._started is not None:
            access, name = self._started
            self._stop(access.client("sagemaker"), name)

    def _attach_or_create(
        self, access: AwsAccess, settings: Settings, context: Context
    ) -> tuple[str, Mapping[str, Any], bool]:
        from include.sagemaker.job_results import is_of_deployment
        from include.sagemaker.naming import Run

        sagemaker = access.client("sagemaker")
        before: tuple[str, Mapping[str, Any]] | None = None
        for attempt in itertools.count(1):
            name = self._name(context, attempt)
            description = self._find(sagemaker, name)
            if description is None:
                if before is not None:
                    self._go_on_after(access, *before, context)
                body = self.request(JobOrder(name, Run.of_task(context["ti"]), access, settings, self.inputs))
                self._started = (access, name)
                description = self._create(sagemaker, name, body)
                if is_of_deployment(description, settings.output_bucket):
                    return name, description, True
                self._started = None
            if not is_of_deployment(description, settings.output_bucket):
                self.log.info("The %s %s is another deployment's: taking the next name.", self.kind.noun, name)
                continue
            status = self.kind.status(description)
            if status in ACTIVE or status == self.kind.done:
                self.log.info("Attaching to the %s %s, which an earlier try started.", self.kind.noun, name)
                return name, description, False
            before = (name, description)
        raise AssertionError("attempts are endless")

    def _go_on_after(self, access: AwsAccess, name: str, description: Mapping[str, Any], context: Context) -> None:
        """Tell that the attempt after this ended one begins; raise its failure where it would only fail again.

        Airflow itself tries a task again whose end it did not hear of, also one that failed for good.
        """
        if not _is_asked_for(context["ti"], self.retries or 0) and not was_stopped_by_hand(self.kind, description):
            failure = self.failure(access, name, description)
            if isinstance(failure, AirflowFailException):
                raise failure
        status = self.kind.status(description)
        self.log.info("The %s %s is %s: starting the next attempt.", self.kind.noun, name, status)

    def _create(self, sagemaker: Any, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        from botocore.exceptions import ClientError

        try:
            getattr(sagemaker, self.kind.create)(**body)
            self.log.info("Started the %s %s.", self.kind.noun, name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUse":
                raise refused_request(self.kind, name, error) from error
            self.log.info("Another try started the %s %s at the same moment: attaching.", self.kind.noun, name)
        description: Mapping[str, Any] = getattr(sagemaker, self.kind.describe)(**self.kind.named(name))
        return description

    def _wait_for_its_turn(self, full: AccountFullError, settings: Settings, waited: float) -> NoReturn:
        from image_classification.triggers.job import PauseTrigger

        wait = seconds_to_wait(settings.poll_seconds, waited)
        if full.is_hopeless or wait is None:
            patience = "" if full.is_hopeless else f" It has not been free for {PATIENCE}."
            raise AirflowFailException(f"{full}{patience} {full.remedy}")
        self.log.warning("The account is full. Trying again in %.0f s. %s", wait, full)
        kwargs = {"waited": waited + wait}
        self.defer(trigger=PauseTrigger(seconds=wait), method_name="execute_when_free", kwargs=kwargs)

    def _find(self, sagemaker: Any, name: str) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        from include.sagemaker.answers import existing

        try:
            return existing(getattr(sagemaker, self.kind.describe), **self.kind.named(name))
        except ClientError as error:
            raise refused_request(self.kind, name, error) from error

    def _name(self, context: Context, attempt: int) -> str:
        from include.sagemaker.naming import job_name

        ti = context["ti"]
        return job_name(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=ti.map_index if ti.map_index is not None else -1,
            attempt=attempt,
            longest=self.longest_name,
        )

    def _stop_what_lives(self, context: Context) -> None:
        from include.sagemaker.job_results import is_of_deployment

        settings = load_settings()
        sagemaker = AwsAccess.of(settings).client("sagemaker")
        for attempt in itertools.count(1):
            name = self._name(context, attempt)
            description = self._find(sagemaker, name)
            if description is None:
                return
            if self.kind.status(description) in ACTIVE and is_of_deployment(description, settings.output_bucket):
                self._stop(sagemaker, name)

    def _stop(self, sagemaker: Any, name: str) -> None:
        from botocore.exceptions import ClientError

        try:
            getattr(sagemaker, self.kind.stop)(**self.kind.named(name))
            self.log.info("Stopped the %s %s.", self.kind.noun, name)
        except ClientError as error:
            self.log.warning("The %s %s could not be stopped: %s", self.kind.noun, name, error)


def _is_asked_for(ti: Any, retries: int) -> bool:
    """Whether this try is no retry: the task's first, or the first after a person cleared it.

    Clearing sets `max_tries` to the tries there were, and `retries` more.
    """
    return bool(ti.try_number == ti.max_tries - retries + 1)


def _stopped_for_an_earlier_try(status: str, description: Mapping[str, Any], attached: float | None) -> bool:
    """Whether the job ended because a person cleared the try that waited for it.

    Airflow starts the cleared task anew and kills what the old try waited for at the same time, so that the new try may
    still find the old job alive.
    """
    if status != "Stopped" or attached is None:
        return False
    ended = description.get("TrainingEndTime") or description.get("LastModifiedTime")
    return ended is None or ended.timestamp() - attached < STOPPING_SECONDS

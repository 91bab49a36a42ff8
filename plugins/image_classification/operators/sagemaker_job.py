"""Jobs that cost money: started once, found again by their name, waited for without a worker, stopped when killed.

What a job read and wrote is reported to OpenLineage if its provider is installed. Sources: the provider's
"Implementing OpenLineage in operators"; OpenLineage's naming of datasets in S3: namespace `s3://BUCKET`, name the key.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralError, TaskDeferralTimeout

from image_classification.context import RunningTask
from image_classification.defaults import JOBS_POOL
from image_classification.links import JobsLink, WrittenLink
from image_classification.operators.job_failure import (
    PATIENCE,
    AccountFullError,
    job_failure,
    last_log_lines,
    refused_request,
    seconds_to_wait,
    unusable_job,
    was_stopped_by_hand,
)
from image_classification.operators.waiting import WaitingOperator
from include.sagemaker.api import ACTIVE, TRAINING, TRANSFORM, TUNING
from include.sagemaker.naming import job_name

if TYPE_CHECKING:
    from airflow.sdk import Context

Request = Callable[[str, RunningTask, Mapping[str, Any]], Mapping[str, Any]]
"""Builds the body of a create call from the job's name, the running task and the documents of earlier tasks."""

STOPPING_SECONDS = 300.0
"""How long after a clear its kill may take to end the job: SageMaker gives a container two minutes."""

MODEL_LINK = WrittenLink("Model in S3", lambda job: job["artifact"])
ANSWERS_LINK = WrittenLink("Answers in S3", lambda job: f"{job['output'].rstrip('/')}/")


class SageMakerJobOperator(WaitingOperator):
    """Starts a job, or attaches to the one that an earlier try of the same task started.

    The name follows from what the job is for (DAG, run, task, map index) and an attempt number that grows only past
    jobs that failed or were stopped, so that there is never a second job while the first may live. Past a job that
    would fail the same way again it grows only when a person asks for it, by clearing the task.

    :param request: builds the body of the create call; raising AirflowSkipException skips the task
    """

    def __init__(self, *, request: Request, pool: str = JOBS_POOL, **kwargs: Any) -> None:
        super().__init__(pool=pool, **kwargs)
        self.request = request
        self._started: tuple[RunningTask, str] | None = None
        self._done: Mapping[str, Any] | None = None
        self._outcomes: dict[str, dict[str, Any] | AirflowFailException] = {}

    def result(self, running: RunningTask, description: Mapping[str, Any]) -> dict[str, Any]:
        """The small JSON document that the task passes on."""
        raise NotImplementedError

    def flaws(self, running: RunningTask, description: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:  # noqa: ARG002
        """Why later tasks cannot use a job that completed, each as sentences that end in what to do."""
        return []

    def failure(self, running: RunningTask, name: str, description: Mapping[str, Any]) -> AirflowException:
        """The error of a job that did not complete, with the end of its log."""
        return job_failure(self.kind, name, description, self.last_lines(running, name))

    def last_lines(self, running: RunningTask, name: str) -> list[str]:
        """The end of the job's log."""
        return last_log_lines(running.client("logs"), self.kind, name)

    def execute(self, context: Context, waited: float = 0.0) -> dict[str, Any]:
        """Attach or create, then wait deferred; a job that is done already is passed on at once.

        If the account is full, the task waits for its turn, deferred too; `waited` is how many seconds it has already.
        """
        running = RunningTask.of(context)
        try:
            name, description, created = self._attach_or_create(running)
        except AccountFullError as full:
            return self._wait_for_its_turn(running, full, waited)
        self._started = (running, name)
        self.point_at(running, name)
        if self.kind.status(description) == self.kind.done:
            self.log.info("The %s %s is done already: using its result.", self.kind.noun, name)
            return self._hand_on(running, description)
        from include.sagemaker.api import time_at_aws

        attached = None if created else time_at_aws(description)
        return self.wait_for(running, name, "execute_complete", attached=attached)

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
        """Pass on the result of the finished job, or say what went wrong with it; `attached` is when it was found."""
        running, name = RunningTask.of(context), self.check_event(event)
        self.point_at(running, name)
        description = self._find(running.client("sagemaker"), name)
        if description is None:
            raise self.forgotten(name)
        if self.kind.status(description) == self.kind.done:
            return self._hand_on(running, description)
        if _stopped_for_an_earlier_try(self.kind.status(description), description, attached):
            self.log.info("The %s %s was stopped with the try that started it.", self.kind.noun, name)
            return self.execute(context)
        raise self.failure(running, name, description)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume as Airflow does; if its waiting failed for good, stop the job, which no task waits for any more."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self._stop_what_lives(RunningTask.of(context))
            raise
        except TaskDeferralError:
            if context["ti"].try_number > context["ti"].max_tries:
                self._stop_what_lives(RunningTask.of(context))
            raise

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002
        """What the finished job read and wrote, an OperatorLineage; asked for by the OpenLineage provider."""
        return operator_lineage(inputs_of(self._done or {}), outputs_of(self._done or {}))

    def on_kill(self) -> None:
        """Stop the job: the task was killed while it ran on a worker."""
        if self._started is not None:
            running, name = self._started
            self._stop(running.client("sagemaker"), name)

    def _hand_on(self, running: RunningTask, description: Mapping[str, Any]) -> dict[str, Any]:
        outcome = self._outcome(running, description)
        if isinstance(outcome, AirflowFailException):
            raise outcome
        self._done = description
        return outcome

    def _outcome(self, running: RunningTask, description: Mapping[str, Any]) -> dict[str, Any] | AirflowFailException:
        """What a completed job is passed on as, or why it cannot be."""
        name = description[self.kind.name_field]
        if name not in self._outcomes:
            result = self.result(running, description)
            flaws = self.flaws(running, description, result)
            lines = self.last_lines(running, name) if flaws else []
            self._outcomes[name] = unusable_job(self.kind, name, flaws, lines) if flaws else result
        return self._outcomes[name]

    def _is_attachable(self, running: RunningTask, description: Mapping[str, Any]) -> bool:
        """Whether a job lives, or has completed with what later tasks need."""
        status = self.kind.status(description)
        is_done = status == self.kind.done
        return status in ACTIVE or (is_done and not isinstance(self._outcome(running, description), Exception))

    def _attach_or_create(self, running: RunningTask) -> tuple[str, Mapping[str, Any], bool]:
        """Name and description of the task's job, and whether this try has started it."""
        from include.sagemaker.job_results import is_of_installation

        sagemaker, bucket = running.client("sagemaker"), running.settings.output_bucket
        before: tuple[str, Mapping[str, Any]] | None = None
        for attempt in itertools.count(1):
            name = self._name(running, attempt)
            description = self._find(sagemaker, name)
            if description is None:
                if before is not None:
                    self._check_next_attempt(running, *before)
                body = self.request(name, running, self.inputs)
                self._started = (running, name)
                description = self._create(sagemaker, name, body)
                if is_of_installation(description, bucket):
                    return name, description, True
                self._started = None
            if not is_of_installation(description, bucket):
                self.log.info("The %s %s is another installation's: taking the next name.", self.kind.noun, name)
                continue
            if self._is_attachable(running, description):
                self.log.info("Attaching to the %s %s, which an earlier try started.", self.kind.noun, name)
                return name, description, False
            before = (name, description)
        raise AssertionError("attempts are endless")

    def _check_next_attempt(self, running: RunningTask, name: str, description: Mapping[str, Any]) -> None:
        """Log that the attempt after this ended one begins; raise its failure if it would only fail again.

        Airflow itself tries a task again whose end it did not see, also one that failed for good.
        """
        is_asked_for = _is_asked_for(running.airflow["ti"], self.retries or 0)
        status = self.kind.status(description)
        if not is_asked_for and not was_stopped_by_hand(self.kind, description):
            is_done = status == self.kind.done
            failure = self._outcome(running, description) if is_done else self.failure(running, name, description)
            if isinstance(failure, AirflowFailException):
                raise failure
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

    def _wait_for_its_turn(self, running: RunningTask, full: AccountFullError, waited: float) -> NoReturn:
        from image_classification.triggers.job import PauseTrigger

        wait = seconds_to_wait(running.settings.poll_seconds, waited)
        if full.is_hopeless or wait is None:
            patience = "" if full.is_hopeless else f" It has not been free for {PATIENCE}."
            raise AirflowFailException(f"{full}{patience} {full.remedy}")
        self.log.warning("The account is full. Trying again in %.0f s. %s", wait, full)
        kwargs = {"waited": waited + wait}
        self.defer(trigger=PauseTrigger(seconds=wait), method_name="execute_when_free", kwargs=kwargs)

    def _find(self, sagemaker: Any, name: str) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        from include.sagemaker.api import existing

        try:
            return existing(getattr(sagemaker, self.kind.describe), **self.kind.named(name))
        except ClientError as error:
            raise refused_request(self.kind, name, error) from error

    def _name(self, running: RunningTask, attempt: int) -> str:
        ti = running.airflow["ti"]
        return job_name(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=ti.map_index if ti.map_index is not None else -1,
            attempt=attempt,
            longest=self.kind.longest_name,
        )

    def _stop_what_lives(self, running: RunningTask) -> None:
        from include.sagemaker.job_results import is_of_installation

        sagemaker, bucket = running.client("sagemaker"), running.settings.output_bucket
        for attempt in itertools.count(1):
            name = self._name(running, attempt)
            description = self._find(sagemaker, name)
            if description is None:
                return
            if self.kind.status(description) in ACTIVE and is_of_installation(description, bucket):
                self._stop(sagemaker, name)

    def _stop(self, sagemaker: Any, name: str) -> None:
        from botocore.exceptions import ClientError

        try:
            getattr(sagemaker, self.kind.stop)(**self.kind.named(name))
            self.log.info("Stopped the %s %s.", self.kind.noun, name)
        except ClientError as error:
            self.log.warning("The %s %s could not be stopped: %s", self.kind.noun, name, error)


class TrainingJobOperator(SageMakerJobOperator):
    """A training job; passes on its JobResult."""

    kind = TRAINING
    operator_extra_links = (*SageMakerJobOperator.operator_extra_links, JobsLink(), MODEL_LINK)

    def result(self, running: RunningTask, description: Mapping[str, Any]) -> dict[str, Any]:
        """The JobResult of the description, with the objective's value of the weights that the job kept."""
        from include.sagemaker.job_results import JobResult
        from include.training.run_jobs import epochs_of_attempt

        job = JobResult.of_training_job(description)
        job = job.with_epochs(epochs_of_attempt(running.client("sagemaker"), running.client("logs"), job.name))
        if job.value is not None:
            epoch = f", which is that of epoch {job.kept_epoch}" if job.kept_epoch else ""
            self.log.info("%s of the model of %s%s: %.4f", job.objective.metric, job.name, epoch, job.value)
        return job.model_dump(mode="json")

    def flaws(self, running: RunningTask, description: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
        """An archive without a file, and a log without the objective."""
        from include.sagemaker.job_results import JobResult
        from include.training.best_model import job_flaws

        return job_flaws(running.client("s3"), description, JobResult.model_validate(result))


class TuningJobOperator(SageMakerJobOperator):
    """A hyperparameter tuning job; passes on its JobResult, with the training job that left the best model."""

    kind = TUNING
    operator_extra_links = (*SageMakerJobOperator.operator_extra_links, JobsLink(), MODEL_LINK)

    def result(self, running: RunningTask, description: Mapping[str, Any]) -> dict[str, Any]:
        """The JobResult of the description, its best job chosen by the weights that each job kept."""
        from include.training.run_jobs import tuning_result

        result = tuning_result(running.client("sagemaker"), running.client("logs"), description)
        named = (description.get("BestTrainingJob") or {}).get("TrainingJobName")
        if result.best_job != named:
            self.log.info(
                "AWS names %s as the best by its last epoch, but %s has the best model.", named, result.best_job
            )
        return result.model_dump(mode="json")

    def flaws(self, running: RunningTask, description: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
        """A best job that left no model; a tuning job without a best job has failed."""
        from include.sagemaker.job_results import describe_training_job
        from include.training.best_model import holds_files, no_model

        if not result["best_job"]:
            return []
        artifact = describe_training_job(running.client("sagemaker"), result["best_job"]).artifact
        if artifact and holds_files(running.client("s3"), artifact):
            return []
        return [no_model(description["TrainingJobDefinition"], artifact)]

    def last_lines(self, running: RunningTask, name: str) -> list[str]:
        """The end of the log of AWS's best job."""
        best = (self._find(running.client("sagemaker"), name) or {}).get("BestTrainingJob") or {}
        job = best.get("TrainingJobName")
        return last_log_lines(running.client("logs"), TRAINING, job) if job else []

    def failure(self, running: RunningTask, name: str, description: Mapping[str, Any]) -> AirflowException:
        """The error of a tuning job, with what became of its training jobs; their fault is its own."""
        from include.sagemaker.job_results import JobResult
        from include.training.best_model import no_objective
        from include.training.run_jobs import listed_jobs

        definition = description["TrainingJobDefinition"]
        jobs = [JobResult.of_listed_job(job, definition) for job in listed_jobs(running.client("sagemaker"), name)]
        details = [f"{job.name} {job.status}: {job.failure_reason or 'no reason given'}" for job in jobs]
        failed = next((job.name for job in jobs if job.status == "Failed"), None)
        silent = next((job.name for job in jobs if job.status == "Completed" and not job.metrics), None)
        if not failed and silent:
            details.append(no_objective(definition, jobs[0].objective.metric))
        if shown := failed or silent:
            details += [f"The log of {shown}:", *last_log_lines(running.client("logs"), TRAINING, shown)]
        causes = [job.failure_reason or "" for job in jobs]
        return job_failure(self.kind, name, description, details, causes=causes)


class TransformJobOperator(SageMakerJobOperator):
    """A batch transform job; passes on `name`, `status`, `model` and `output`, where the answers are."""

    kind = TRANSFORM
    operator_extra_links = (*SageMakerJobOperator.operator_extra_links, ANSWERS_LINK)

    def result(self, running: RunningTask, description: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The few facts that an evaluation needs."""
        return {
            "name": description["TransformJobName"],
            "status": description["TransformJobStatus"],
            "model": description["ModelName"],
            "output": description["TransformOutput"]["S3OutputPath"],
        }


def inputs_of(description: Mapping[str, Any]) -> list[str]:
    """Addresses that a training, tuning or transform job reads."""
    definition = description.get("TrainingJobDefinition") or description
    channels = [channel["DataSource"] for channel in definition.get("InputDataConfig") or ()]
    if "TransformInput" in description:
        channels.append(description["TransformInput"]["DataSource"])
    return [channel["S3DataSource"]["S3Uri"] for channel in channels if "S3DataSource" in channel]


def outputs_of(description: Mapping[str, Any]) -> list[str]:
    """Addresses that the job wrote: the model's artifact, or the answers."""
    artifact = (description.get("ModelArtifacts") or {}).get("S3ModelArtifacts")
    answers = (description.get("TransformOutput") or {}).get("S3OutputPath")
    return [uri for uri in (artifact, answers) if uri]


def operator_lineage(inputs: list[str], outputs: list[str]) -> Any:
    """The provider's OperatorLineage of S3 addresses; None if the provider is not installed."""
    try:
        from airflow.providers.common.compat.openlineage.facet import Dataset
        from airflow.providers.openlineage.extractors import OperatorLineage  # type: ignore[import-not-found]
    except ImportError:
        return None
    return OperatorLineage(
        inputs=[Dataset(**_openlineage_name(uri)) for uri in inputs],
        outputs=[Dataset(**_openlineage_name(uri)) for uri in outputs],
    )


def _openlineage_name(uri: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"namespace": f"s3://{bucket}", "name": key.rstrip("/") or "/"}


def _is_asked_for(ti: Any, retries: int) -> bool:
    """Whether this try is not a retry: the task's first, or the first after a person cleared it.

    Clearing sets `max_tries` to the tries there were, and `retries` more.
    """
    return bool(ti.try_number == ti.max_tries - retries + 1)


def _stopped_for_an_earlier_try(status: str, description: Mapping[str, Any], attached: float | None) -> bool:
    """Whether the job ended because a person cleared the try that waited for it.

    Airflow starts the cleared task again and kills what the old try waited for at the same time, so the new try may
    still find the old job alive.
    """
    if status != "Stopped" or attached is None:
        return False
    ended = description.get("TrainingEndTime") or description.get("LastModifiedTime")
    return ended is None or ended.timestamp() - attached < STOPPING_SECONDS

"""Training jobs: the actions of the API, and the runs behind them."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping

from local_aws.aws_errors import AwsError, requested_resource_not_found, resource_in_use, validation_error
from local_aws.sagemaker.core.area import Action, Area, Document, Neighbours
from local_aws.sagemaker.core.resource_table import ResourceTable
from local_aws.sagemaker.core.tags import Tags
from local_aws.sagemaker.training.job import FINISHED, MetricLog, TrainingJob
from local_aws.sagemaker.training.rules import check_training_job
from local_aws.sagemaker.training.run import TrainingRun

CLOSING_GRACE_SECONDS = 1.0

log = logging.getLogger(__name__)


class TrainingJobs(Area):
    """The training jobs of one account and region; `jobs` is their table."""

    resource_types = frozenset({"training-job"})

    def __init__(self, sagemaker: Neighbours) -> None:
        super().__init__(sagemaker)
        self.jobs: ResourceTable[TrainingJob] = ResourceTable(
            taken=_taken, unknown=lambda _: requested_resource_not_found()
        )

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions on training jobs."""
        return {
            "CreateTrainingJob": lambda request: {"TrainingJobArn": self.create(request).arn},
            "DescribeTrainingJob": lambda request: self.jobs.get(request["TrainingJobName"]).describe(),
            "ListTrainingJobs": self._list,
            "StopTrainingJob": self._stop,
            "UpdateTrainingJob": self._update,
            "DeleteTrainingJob": self._delete,
        }

    def searchable(self) -> Mapping[str, Callable[[], Iterable[Document]]]:
        """Training jobs are found with their tags."""
        tags = self.sagemaker.area(Tags)
        return {"TrainingJob": lambda: [{**job.describe(), "Tags": tags.of(job.arn)} for job in self.jobs.all()]}

    def create(
        self,
        request: Document,
        *,
        tuning_job_arn: str | None = None,
        on_finish: Callable[[TrainingJob], None] | None = None,
    ) -> TrainingJob:
        """Start a training job as soon as a slot is free, after those created before it; returns at once.

        `on_finish` is called once, with the job, in the job's own thread, after it is Completed, Failed or Stopped and
        has given back its slot. Raises AwsError for a request that AWS refuses, a taken name, an unknown image.
        """
        check_training_job(request)
        algorithm = request["AlgorithmSpecification"]
        self.aws.server.images.runnable(algorithm["TrainingImage"], "train")
        definitions = self.aws.server.images.metric_definitions(algorithm)
        if definitions:
            request = {**request, "AlgorithmSpecification": {**algorithm, "MetricDefinitions": definitions}}
        name = request["TrainingJobName"]
        arn = self.aws.arn("training-job", name)
        slot = self.aws.server.slots.queue()
        job = TrainingJob(name, arn, request, MetricLog(definitions), slot, tuning_job_arn=tuning_job_arn)
        try:
            self.jobs.add(job)
        except AwsError:
            slot.release()
            raise
        self.sagemaker.area(Tags).register(arn, request.get("Tags", []))
        threading.Thread(target=self._run, args=(job, on_finish), name=f"training {name}", daemon=True).start()
        return job

    def close(self) -> None:
        """End every process and remove what the jobs had on disk."""
        unfinished = [job for job in self.jobs.all() if job.status not in FINISHED]
        for job in unfinished:
            job.stop(grace=CLOSING_GRACE_SECONDS)
        for job in unfinished:
            job.wait_for_container(CLOSING_GRACE_SECONDS + 2)
            shutil.rmtree(self.aws.directory("training-jobs", job.name), ignore_errors=True)

    def _run(self, job: TrainingJob, on_finish: Callable[[TrainingJob], None] | None) -> None:
        TrainingRun(self.aws, job)()
        if on_finish is None:
            return
        try:
            on_finish(job)
        except Exception:
            log.exception("after training job %s", job.name)

    def _list(self, request: Document) -> Document:
        return self.jobs.page(
            request,
            "TrainingJobSummaries",
            TrainingJob.summary,
            keep=lambda _: "WarmPoolStatusEquals" not in request and "TrainingPlanArnEquals" not in request,
        )

    def _stop(self, request: Document) -> Document:
        job = self.jobs.get(request["TrainingJobName"])
        if job.status in FINISHED:
            raise validation_error(f"The request was rejected because the training job is in status {job.status}.")
        job.stop()
        return {}

    def _update(self, request: Document) -> Document:
        job = self.jobs.get(request["TrainingJobName"])
        if job.status in FINISHED and "ResourceConfig" not in request:
            raise validation_error(f"The request was rejected because the training job is in status {job.status}.")
        job.update({field: value for field, value in request.items() if field != "TrainingJobName"})
        return {"TrainingJobArn": job.arn}

    def _delete(self, request: Document) -> Document:
        job = self.jobs.get(request["TrainingJobName"])
        if job.status not in FINISHED:
            raise resource_in_use(
                f"Training job {job.arn} is in status {job.status}: stop it and wait until it has ended."
            )
        self.jobs.remove(job.name)
        self.sagemaker.area(Tags).forget(job.arn)
        return {}


def _taken(existing: TrainingJob) -> AwsError:
    return resource_in_use(
        "Training job names must be unique within an AWS account and region, "
        f"and a training job with this name already exists ({existing.arn})"
    )

"""Batch transform: the actions of the API, and the runs behind them."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from local_aws.aws_errors import AwsError, resource_in_use, validation_error
from local_aws.sagemaker.core.area import Action, Area, Document, Neighbours
from local_aws.sagemaker.core.resource_table import ResourceTable
from local_aws.sagemaker.core.tags import Tags, check_tags
from local_aws.sagemaker.hosting.api import Models
from local_aws.sagemaker.transform.job import TransformJob
from local_aws.sagemaker.transform.rules import check_transform_job
from local_aws.sagemaker.transform.run import TransformRun

CLOSE_SECONDS = 3.0


class TransformJobs(Area):
    """The transform jobs of one account and region."""

    resource_types = frozenset({"transform-job"})

    def __init__(self, sagemaker: Neighbours) -> None:
        super().__init__(sagemaker)
        self._jobs: ResourceTable[TransformJob] = ResourceTable(taken=_taken, unknown=_unknown)

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions on transform jobs."""
        return {
            "CreateTransformJob": self.create,
            "DescribeTransformJob": lambda request: self._jobs.get(request["TransformJobName"]).describe(),
            "ListTransformJobs": self.list_jobs,
            "StopTransformJob": self.stop,
        }

    def create(self, request: Document) -> Document:
        """CreateTransformJob: the model must exist; the job takes its place in the queue of jobs."""
        name = request["TransformJobName"]
        tags = request.get("Tags", [])
        check_transform_job(request)
        check_tags(tags)
        model = self.sagemaker.area(Models).models.get(request["ModelName"])
        slot = self.aws.server.slots.queue()
        job = TransformJob(name, self.aws.arn("transform-job", name), request, model, slot)
        try:
            self._jobs.add(job)
        except AwsError:
            slot.release()
            raise
        self.sagemaker.area(Tags).register(job.arn, tags)
        threading.Thread(target=TransformRun(self.aws, job), name=f"transform {name}", daemon=True).start()
        return {"TransformJobArn": job.arn}

    def list_jobs(self, request: Document) -> Document:
        """ListTransformJobs."""
        return self._jobs.page(request, "TransformJobSummaries", TransformJob.summary, sort_order="Descending")

    def stop(self, request: Document) -> Document:
        """StopTransformJob: Stopping until its process has ended, then Stopped."""
        job = self._jobs.get(request["TransformJobName"])
        if not job.stop():
            raise validation_error(f"The request was rejected because the transform job is in status {job.status}.")
        return {}

    def close(self) -> None:
        """End every job's process."""
        running = [job for job in self._jobs.all() if job.stop()]
        for job in running:
            job.finished.wait(CLOSE_SECONDS)


def _taken(existing: TransformJob) -> AwsError:
    return resource_in_use(
        "Transform job names must be unique within an AWS account and region, "
        f"and a transform job with this name already exists ({existing.arn})"
    )


def _unknown(name: str) -> AwsError:
    return validation_error(f"Could not find requested job with name: {name}")

"""A transform job's record, and how the API describes it."""

from __future__ import annotations

import threading
from datetime import datetime

from local_aws.job_slots import JobSlot
from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.failures import LONGEST_REASON
from local_aws.sagemaker.core.resource_table import now
from local_aws.sagemaker.hosting.model import Model

ECHOED = (
    "ModelName",
    "MaxConcurrentTransforms",
    "ModelClientConfig",
    "MaxPayloadInMB",
    "BatchStrategy",
    "Environment",
    "TransformInput",
    "TransformOutput",
    "TransformResources",
    "DataProcessing",
    "ExperimentConfig",
)


class TransformJob:
    """The record of one job; its run moves it on, and any thread may describe or stop it."""

    def __init__(self, name: str, arn: str, request: Document, model: Model, slot: JobSlot) -> None:
        self.name = name
        self.arn = arn
        self.request = request
        self.model = model
        self.slot = slot
        self.status = "InProgress"
        self.failure_reason: str | None = None
        self.creation_time = self.last_modified_time = now()
        self.start_time: datetime | None = None
        self.end_time: datetime | None = None
        self.stopping = threading.Event()
        self.finished = threading.Event()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Note that the job has its place on the machine."""
        self.start_time = self.last_modified_time = now()

    def stop(self) -> bool:
        """Ask the job to end; False when it has ended already."""
        with self._lock:
            if self.finished.is_set():
                return False
            self.status = "Stopping"
            self.last_modified_time = now()
        self.stopping.set()
        if self.start_time is None:
            self.slot.release()
        return True

    def finish(self, status: str, reason: str | None = None) -> None:
        """End as Completed, Failed or Stopped; a job that was asked to stop ends as Stopped."""
        with self._lock:
            self.status = "Stopped" if self.stopping.is_set() else status
            if self.status == "Failed" and reason:
                self.failure_reason = reason[:LONGEST_REASON]
            self.end_time = self.last_modified_time = now()
            self.finished.set()

    def summary(self) -> Document:
        """The job as ListTransformJobs gives it."""
        return {
            "TransformJobName": self.name,
            "TransformJobArn": self.arn,
            "CreationTime": self.creation_time,
            "TransformEndTime": self.end_time,
            "LastModifiedTime": self.last_modified_time,
            "TransformJobStatus": self.status,
            "FailureReason": self.failure_reason,
        }

    def describe(self) -> Document:
        """The job as DescribeTransformJob gives it."""
        return {
            **{field: self.request.get(field) for field in ECHOED},
            "TransformInput": {"CompressionType": "None", "SplitType": "None", **self.request["TransformInput"]},
            "TransformOutput": {"AssembleWith": "None", "KmsKeyId": "", **self.request["TransformOutput"]},
            "TransformJobName": self.name,
            "TransformJobArn": self.arn,
            "TransformJobStatus": self.status,
            "FailureReason": self.failure_reason,
            "CreationTime": self.creation_time,
            "TransformStartTime": self.start_time,
            "TransformEndTime": self.end_time,
        }

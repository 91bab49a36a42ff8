"""Training and tuning jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException

from image_classification.context import AwsAccess
from image_classification.links import WrittenLink
from image_classification.operators.job_failure import job_failure, last_log_lines
from image_classification.operators.sagemaker_job import SageMakerJobOperator
from include.sagemaker.job_kinds import TRAINING, TUNING

MODEL_LINK = WrittenLink("Model in S3", lambda job: job["artifact"])


class TrainingJobOperator(SageMakerJobOperator):
    """A training job; hands on its JobResult."""

    kind = TRAINING
    operator_extra_links = (*SageMakerJobOperator.operator_extra_links, MODEL_LINK)

    def result(self, access: AwsAccess, description: Mapping[str, Any]) -> dict[str, Any]:
        """The JobResult of the description, with the accuracy of the weights that the job kept."""
        from include.sagemaker.epochs import epochs_of_job
        from include.sagemaker.job_results import OBJECTIVE, JobResult

        job = JobResult.of_training_job(description)
        job = job.with_epochs(epochs_of_job(access.client("logs"), job.name))
        if job.accuracy is not None:
            epoch = f", which is that of epoch {job.kept_epoch}" if job.kept_epoch else ""
            self.log.info("%s of the model of %s%s: %.4f", OBJECTIVE, job.name, epoch, job.accuracy)
        return job.model_dump(mode="json")


class TuningJobOperator(SageMakerJobOperator):
    """A hyperparameter tuning job; returns its JobResult, with the training job that left the best model."""

    kind = TUNING
    operator_extra_links = (*SageMakerJobOperator.operator_extra_links, MODEL_LINK)
    longest_name = 32

    def result(self, access: AwsAccess, description: Mapping[str, Any]) -> dict[str, Any]:
        """The JobResult of the description, its best job chosen by the weights that each job kept."""
        from include.training.run_jobs import tuning_result

        result = tuning_result(access.client("sagemaker"), access.client("logs"), description)
        named = (description.get("BestTrainingJob") or {}).get("TrainingJobName")
        if result.best_job != named:
            self.log.info(
                "AWS names %s as the best, by its last epoch; the best model is %s's.", named, result.best_job
            )
        return result.model_dump(mode="json")

    def failure(self, access: AwsAccess, name: str, description: Mapping[str, Any]) -> AirflowException:
        """The error of a tuning job, with what became of its training jobs; their fault is its own."""
        from include.sagemaker.job_results import JobResult
        from include.training.run_jobs import listed_jobs

        jobs = [JobResult.of_listed_job(job, {}) for job in listed_jobs(access.client("sagemaker"), name)]
        told = [f"{job.name} {job.status}: {job.failure_reason or 'no reason given'}" for job in jobs]
        failed = next((job.name for job in jobs if job.status == "Failed"), None)
        if failed:
            told += [f"The log of {failed}:", *last_log_lines(access.client("logs"), TRAINING, failed)]
        causes = [job.failure_reason or "" for job in jobs]
        return job_failure(self.kind, name, description, told, causes=causes)

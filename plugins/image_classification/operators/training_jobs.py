"""Training and tuning jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from image_classification.job_kinds import TRAINING, TUNING
from image_classification.operators.sagemaker_job import SageMakerJobOperator


class TrainingJobOperator(SageMakerJobOperator):
    """A training job; hands on its JobResult."""

    kind = TRAINING

    def result(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """The JobResult of the description."""
        from include.training.results import JobResult

        return JobResult.of_training_job(description).model_dump(mode="json")


class TuningJobOperator(SageMakerJobOperator):
    """A hyperparameter tuning job; hands on its JobResult, with the best of its training jobs."""

    kind = TUNING
    longest_name = 32

    def result(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """The JobResult of the description."""
        from include.training.results import JobResult

        return JobResult.of_tuning_job(description).model_dump(mode="json")

"""Which of the models that the training stage handed on is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from include.training.best_model import BestModel

# What the training stage returns: the documents of its tasks by name, None for a task that was skipped.


def base_model(models: dict[str, Any]) -> BestModel:
    """The model trained from scratch that goes on, or the champion."""
    from include.training.best_model import BestModel

    return BestModel.model_validate(models["select_best"])


def final_model(models: dict[str, Any]) -> BestModel:
    """The incremental model where there is one, else the base model."""
    from include.sagemaker.job_results import JobResult
    from include.training.best_model import BestModel

    base = base_model(models)
    if not models["train_incremental"]:
        return base
    job = JobResult.model_validate(models["train_incremental"])
    return BestModel(
        job=job.name,
        objective=base.objective,
        value=job.accuracy,
        artifact=str(job.artifact),
        hyperparameters=job.hyperparameters,
        billable_seconds=job.billable_seconds,
        trial=base.trial,
        dataset_uri=job.dataset_uri,
    )

"""How a tuning job searches: strategy, budget, early stopping, when it is done before its budget is spent.

Source: API reference of HyperParameterTuningJobConfig.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.sagemaker.job_results import OBJECTIVE
from include.training.hyperparameters import tuning_epochs
from include.training.tuning_ranges import parameter_ranges, resource_limits

if TYPE_CHECKING:
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf


def tuning_config(conf: RunConf, dataset: DatasetVersion) -> dict[str, Any]:
    """`HyperParameterTuningJobConfig` of CreateHyperParameterTuningJob."""
    tuning = conf.tuning
    completion = completion_criteria(conf)
    return {
        "Strategy": tuning.strategy,
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": OBJECTIVE},
        "ResourceLimits": resource_limits(conf),
        "ParameterRanges": parameter_ranges(conf, dataset),
        "TrainingJobEarlyStoppingType": "Auto" if tuning.early_stopping else "Off",
        **_hyperband(conf),
        **({"TuningJobCompletionCriteria": completion} if completion else {}),
        **({"RandomSeed": tuning.seed} if tuning.seed is not None else {}),
    }


def completion_criteria(conf: RunConf) -> dict[str, Any]:
    """`TuningJobCompletionCriteria`, empty where the budget alone ends the search."""
    completion = conf.tuning.completion
    criteria: dict[str, Any] = {}
    if completion.target is not None:
        criteria["TargetObjectiveMetricValue"] = completion.target
    if completion.jobs_without_improvement is not None:
        most = completion.jobs_without_improvement
        criteria["BestObjectiveNotImproving"] = {"MaxNumberOfTrainingJobsNotImproving": most}
    if completion.converged:
        criteria["ConvergenceDetected"] = {"CompleteOnConvergence": "Enabled"}
    return criteria


def _hyperband(conf: RunConf) -> dict[str, Any]:
    """Hyperband gives a promising job more epochs; of one epoch there is nothing to give."""
    epochs = tuning_epochs(conf)
    if conf.tuning.strategy != "Hyperband" or epochs == 1:
        return {}
    return {"StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": epochs}}}

"""`HyperParameterTuningJobConfig` of CreateHyperParameterTuningJob: what a search varies, by what, for how long.

Source: API reference of HyperParameterTuningJobConfig.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from include.algorithms.algorithm import Algorithm
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf


def tuning_config(algorithm: Algorithm, dataset: DatasetVersion) -> dict[str, Any]:
    """The whole configuration of the search that the algorithm's conf asks for."""
    conf, objective = algorithm.conf, algorithm.objective
    tuning = conf.tuning
    completion = completion_criteria(conf)
    return {
        "Strategy": tuning.strategy,
        "HyperParameterTuningJobObjective": {"Type": objective.direction, "MetricName": objective.metric},
        "ResourceLimits": resource_limits(conf),
        "ParameterRanges": algorithm.parameter_ranges(dataset),
        "TrainingJobEarlyStoppingType": "Auto" if tuning.early_stopping else "Off",
        **_hyperband(algorithm),
        **({"TuningJobCompletionCriteria": completion} if completion else {}),
        **({"RandomSeed": tuning.seed} if tuning.seed is not None else {}),
    }


def resource_limits(conf: RunConf) -> dict[str, int]:
    """`ResourceLimits`: how many jobs in all, how many at once, for how long."""
    tuning = conf.tuning
    return {
        "MaxNumberOfTrainingJobs": tuning.jobs,
        "MaxParallelTrainingJobs": tuning.parallel_jobs,
        **({"MaxRuntimeInSeconds": tuning.max_runtime_seconds} if tuning.max_runtime_seconds else {}),
    }


def completion_criteria(conf: RunConf) -> dict[str, Any]:
    """`TuningJobCompletionCriteria`, empty if the budget alone ends the search."""
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


def _hyperband(algorithm: Algorithm) -> dict[str, Any]:
    """Hyperband gives a promising job more epochs; of one epoch there is nothing to give."""
    epochs = algorithm.search_epochs()
    if algorithm.conf.tuning.strategy != "Hyperband" or not epochs or epochs == 1:
        return {}
    return {"StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": epochs}}}

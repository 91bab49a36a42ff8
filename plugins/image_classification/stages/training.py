"""A dataset version -> the model that goes on: trained or tuned, the best selected, trained on incrementally."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from image_classification.context import AwsAccess
from image_classification.deployment_settings import load_settings
from image_classification.links import WrittenLink, with_links
from image_classification.operators.training_jobs import TrainingJobOperator, TuningJobOperator
from image_classification.stages.dataset import finished_version
from image_classification.tasks.check_conf import quick_clients
from image_classification.tasks.selection import CONF, DATASET, compare_jobs, select_best

if TYPE_CHECKING:
    from image_classification.operators.sagemaker_job import JobOrder
    from include.datasets.version import DatasetVersion
    from include.preflight import Stage
    from include.problems import Problem
    from include.run_conf import RunConf
    from include.training.best_model import BestModel

log = logging.getLogger(__name__)

TRAINING_ALONE: tuple[Stage, ...] = ("training",)

BASE_TRIAL = "base"
"""How the one base job is called where the run conf names no trials."""


@task_group(group_id="training", tooltip="A dataset version -> the model that goes on")
def training(conf: Any, dataset: Any, champion: Any = None) -> Any:
    """The training stage: returns its tasks' documents by name, and what the model that goes on was trained with.

    `conf` and `dataset` of the answer are those of the best model's trial. With a `champion` (the document of a
    BestModel) nothing is trained from scratch: it is the base of the incremental training.
    """
    trials: Any = plan_trials(conf, dataset, champion)
    train = TrainingJobOperator.partial(
        task_id="train", request=base_training, map_index_template="{{ task.inputs['trial'] }}"
    ).expand(inputs=trials)
    inputs = {"conf": conf, "dataset": dataset, "champion": champion}
    tune = TuningJobOperator(task_id="tune", request=tuning, inputs=inputs)
    tuned = TrainingJobOperator(
        task_id="train_tuned", request=tuned_training, inputs={"conf": conf, "dataset": dataset, "tune": tune.output}
    )
    best: Any = select_best(conf, dataset, champion, trials)
    incremental = TrainingJobOperator(
        task_id="train_incremental",
        request=incremental_training,
        inputs={"conf": best[CONF], "dataset": best[DATASET], "best": best},
        trigger_rule="none_failed",
    )
    page = WrittenLink("Leaderboard", lambda uri: uri.replace("leaderboard.json", "leaderboard.html"))
    leaderboard: Any = with_links(compare_jobs(conf, champion, trials, best), page)
    trials >> [tune, incremental]
    [train, tune, tuned] >> best
    incremental >> leaderboard
    return {
        "conf": best[CONF],
        "dataset": best[DATASET],
        "select_best": best,
        "train_incremental": incremental.output,
        "leaderboard": leaderboard,
    }


@task
def plan_trials(conf: dict[str, Any], dataset: dict[str, Any], champion: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The base jobs to train, each with its name, conf and dataset version; none where the run only tunes.

    Everything that only the dataset versions show is looked at here, for all jobs at once and before any is paid for.
    """
    from include.datasets.version import DatasetVersion
    from include.preflight import PreflightError
    from include.run_conf import RunConf

    if champion:
        log.info("The run goes on from %s: nothing is trained from scratch.", champion["job"])
        return []
    run_conf, version = RunConf.from_conf(conf), DatasetVersion.model_validate(dataset)
    jobs = _base_jobs(run_conf, version)
    problems: dict[Problem, None] = {}
    if run_conf.training.mode != "train":
        problems |= dict.fromkeys(_problems(run_conf, version, with_services=True))
    for name, job_conf, learned_from in jobs:
        for problem in _problems(job_conf, learned_from):
            field = f"{problem.field} of trial {name}" if run_conf.training.trials else problem.field
            problems[problem.model_copy(update={"field": field})] = None
    if problems:
        raise PreflightError(problems)
    for name, _, learned_from in jobs:
        log.info("Trial %s learns from %s/%s.", name, learned_from.name, learned_from.version)
    return [
        {"trial": name, "conf": job_conf.model_dump(mode="json"), "dataset": learned_from.model_dump(mode="json")}
        for name, job_conf, learned_from in jobs
    ]


def base_training(order: JobOrder) -> dict[str, Any]:
    """The training job of one trial, from scratch."""
    from include.training.job_requests import training_request

    conf, dataset = _conf_and_dataset(order)
    return training_request(order.name, conf=conf, settings=order.settings, dataset=dataset, run=order.run)


def tuning(order: JobOrder) -> dict[str, Any]:
    """The tuning job; skipped where the run only trains, or goes on from a champion."""
    from include.sagemaker.image_uris import image_uri
    from include.training.job_hyperparameters import parameter_ranges, tuning_hyperparameters
    from include.training.job_requests import tuning_request
    from include.training.warm_start import warm_start

    conf, dataset = _conf_and_dataset(order)
    if champion := order.inputs["champion"]:
        raise AirflowSkipException(f"this run goes on from {champion['job']}")
    if conf.training.mode == "train":
        raise AirflowSkipException("training.mode is train")
    learned = warm_start(
        order.access.client("sagemaker"),
        conf,
        dataset=dataset,
        ranges=parameter_ranges(conf, dataset),
        static=tuning_hyperparameters(conf, dataset),
        image=image_uri(order.settings),
    )
    return tuning_request(
        order.name, conf=conf, settings=order.settings, dataset=dataset, run=order.run, warm_start=learned
    )


def tuned_training(order: JobOrder) -> dict[str, Any]:
    """The full training job with the best hyperparameters of the tuning job."""
    from include.sagemaker.job_results import JobResult
    from include.training.best_model import NoUsableJobError
    from include.training.job_requests import training_request

    conf, dataset = _conf_and_dataset(order)
    if conf.training.mode != "tune_then_train":
        raise AirflowSkipException(f"training.mode is {conf.training.mode}")
    tuning_job = JobResult.model_validate(order.inputs["tune"])
    if not tuning_job.best_job:
        raise NoUsableJobError(f"No job of {tuning_job.name} reached an objective: there is nothing to train with.")
    found = tuning_job.hyperparameters
    told = ", ".join(f"{name} {value}" for name, value in sorted(found.items()))
    log.info("A full job with the hyperparameters of %s: %s.", tuning_job.best_job, told)
    return training_request(order.name, conf=conf, settings=order.settings, dataset=dataset, run=order.run, tuned=found)


def incremental_training(order: JobOrder) -> dict[str, Any]:
    """The training job that goes on from the best model of the run, or from the champion."""
    from include.training.best_model import BestModel
    from include.training.job_requests import incremental_request

    conf, dataset = _conf_and_dataset(order)
    if not conf.incremental.enabled:
        raise AirflowSkipException("incremental.enabled is off")
    base = BestModel.model_validate(order.inputs["best"])
    _check(conf, dataset, parent=base)
    return incremental_request(
        order.name, conf=conf, settings=order.settings, dataset=dataset, run=order.run, base=base
    )


def _base_jobs(conf: RunConf, version: DatasetVersion) -> list[tuple[str, RunConf, DatasetVersion]]:
    """Name, conf and dataset version of every base job."""
    from include.datasets.version import DatasetVersion

    if conf.training.mode not in ("train", "both"):
        return []
    jobs = []
    for trial in conf.training.trials:
        job_conf, learned_from = conf.of_trial(trial), version
        if trial.dataset:
            learned_from = DatasetVersion.model_validate(finished_version(job_conf.model_dump(mode="json")))
            pinned = job_conf.dataset.model_copy(update={"version": learned_from.version})
            job_conf = job_conf.model_copy(update={"dataset": pinned})
        jobs.append((trial.name, job_conf, learned_from))
    return jobs or [(BASE_TRIAL, conf, version)]


def _conf_and_dataset(order: JobOrder) -> tuple[RunConf, DatasetVersion]:
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf

    return RunConf.from_conf(order.inputs["conf"]), DatasetVersion.model_validate(order.inputs["dataset"])


def _problems(conf: RunConf, dataset: DatasetVersion, *, with_services: bool = False) -> tuple[Problem, ...]:
    from include.preflight import PreflightError

    try:
        _check(conf, dataset, with_services=with_services)
    except PreflightError as error:
        return error.problems
    return ()


def _check(
    conf: RunConf, dataset: DatasetVersion, *, parent: BestModel | None = None, with_services: bool = False
) -> None:
    """What can only be known with the dataset version, before the job is paid for.

    A search asks the services again: what it learned from may have been made of other data.
    """
    from include.preflight import check

    settings = load_settings()
    clients = quick_clients(AwsAccess.of(settings))
    check(
        conf,
        settings,
        s3=clients("s3"),
        dataset=dataset,
        parent=parent,
        clients=clients if with_services else None,
        stages=TRAINING_ALONE,
    )

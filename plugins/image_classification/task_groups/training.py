"""A dataset version -> the model that goes on: trained or tuned, the best selected, trained on incrementally."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from image_classification.aws import AwsAccess
from image_classification.deployment_settings import load_settings
from image_classification.operators.training_jobs import TrainingJobOperator, TuningJobOperator

if TYPE_CHECKING:
    from image_classification.operators.sagemaker_job import JobOrder
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.training.selection import BestModel

log = logging.getLogger(__name__)


@task_group(group_id="training", tooltip="A dataset version -> the model that goes on")
def training(conf: Any, dataset: Any, champion: Any = None) -> Any:
    """The training stage: returns its tasks' documents by name, and the champion's.

    With a `champion` (the document of a BestModel) nothing is trained from scratch: it is the base of the incremental
    training.
    """
    inputs = {"conf": conf, "dataset": dataset, "champion": champion}
    train = TrainingJobOperator(task_id="train", request=base_training, inputs=inputs)
    tune = TuningJobOperator(task_id="tune", request=tuning, inputs=inputs)
    best = select_best(conf, train.output, tune.output)  # type: ignore[arg-type]
    incremental = TrainingJobOperator(
        task_id="train_incremental",
        request=incremental_training,
        inputs={**inputs, "best": best},
        trigger_rule="none_failed",
    )
    return {
        "train": train.output,
        "tune": tune.output,
        "select_best": best,
        "train_incremental": incremental.output,
        "champion": champion,
    }


def base_training(order: JobOrder) -> dict[str, Any]:
    """The training job from scratch; skipped where the run only tunes, or goes on from a champion."""
    from include.training.requests import training_request

    conf, dataset = _conf_and_dataset(order)
    _skip_with_champion(order)
    if conf.training.mode == "tune":
        raise AirflowSkipException("training.mode is tune")
    _check(order, conf, dataset)
    return training_request(order.name, conf=conf, settings=order.settings, dataset=dataset, run=order.run)


def tuning(order: JobOrder) -> dict[str, Any]:
    """The tuning job; skipped where the run only trains, or goes on from a champion."""
    from include.training.requests import tuning_request

    conf, dataset = _conf_and_dataset(order)
    _skip_with_champion(order)
    if conf.training.mode == "train":
        raise AirflowSkipException("training.mode is train")
    _check(order, conf, dataset)
    return tuning_request(order.name, conf=conf, settings=order.settings, dataset=dataset, run=order.run)


def incremental_training(order: JobOrder) -> dict[str, Any]:
    """The training job that goes on from the best model of the run, or from the champion."""
    from include.training.requests import incremental_request
    from include.training.selection import BestModel

    conf, dataset = _conf_and_dataset(order)
    if not conf.incremental.enabled:
        raise AirflowSkipException("incremental.enabled is off")
    base = BestModel.model_validate(order.inputs["best"] or order.inputs["champion"])
    _check(order, conf, dataset, parent=base)
    return incremental_request(
        order.name, conf=conf, settings=order.settings, dataset=dataset, run=order.run, base=base
    )


@task(trigger_rule="none_failed_min_one_success")
def select_best(conf: dict[str, Any], train: dict[str, Any] | None, tune: dict[str, Any] | None) -> dict[str, Any]:
    """The best of the run's models, or of the one mode that `training.continue_with` names."""
    if train is None and tune is None:
        raise AirflowSkipException("this run goes on from a champion")
    from include.run_conf import RunConf
    from include.training import selection

    wanted = RunConf.from_conf(conf).training.continue_with
    best = selection.select_best(
        AwsAccess.of(load_settings()).client("sagemaker"),
        tuning_job=tune["name"] if tune and wanted != "train" else None,
        training_jobs=[train["name"]] if train and wanted != "tune" else [],
    )
    for place, candidate in enumerate(best.leaderboard, start=1):
        log.info("%d. %s: %s %.4f", place, candidate.job, best.objective, candidate.value)
    for skipped in best.skipped:
        log.info("Left out: %s: %s", skipped.job, skipped.reason)
    return best.model_dump(mode="json")


def _conf_and_dataset(order: JobOrder) -> tuple[RunConf, DatasetVersion]:
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf

    return RunConf.from_conf(order.inputs["conf"]), DatasetVersion.model_validate(order.inputs["dataset"])


def _skip_with_champion(order: JobOrder) -> None:
    champion = order.inputs["champion"]
    if champion:
        raise AirflowSkipException(f"this run goes on from {champion['job']}")


def _check(order: JobOrder, conf: RunConf, dataset: DatasetVersion, parent: BestModel | None = None) -> None:
    """What can only be known with the dataset version, before the job is paid for."""
    from include.training.preflight import check

    check(conf, order.settings, s3=order.access.client("s3"), dataset=dataset, parent=parent)

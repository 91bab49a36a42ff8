"""Which registered model is deployed, and which one predicts: by itself, or as a person says."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task

from image_classification.context import (
    AwsAccess,
    RunningTask,
    asked_conf,
    hide_queries,
    read_settings,
    sealed_conf,
)
from image_classification.operators.deciding import deciding_task
from image_classification.operators.endpoint import idle_tasks

log = logging.getLogger(__name__)

MODEL_VERSION = "model_version"


@deciding_task(multiple_outputs=True)
def choose_model() -> dict[str, Any]:
    """The run conf, the chosen model and the dataset version it was trained on.

    What the conf leaves open is as the dataset's endpoint is now: its name, and its machines. Raises
    RunConfError for a wrong conf and if `endpoint.deploy` is off, NoModelError for a dataset without an approved model
    or for a named model that is not approved, and PreflightError for what would keep the endpoint from serving it.
    """
    from include.datasets.version import load
    from include.deployment.registry import NoModelError, last_approved, numbered
    from include.preflight import ONLY_DEPLOYS
    from include.preflight.checking import check
    from include.problems import Problem
    from include.run_conf import RunConf, RunConfError
    from include.run_conf.endpoint import ModelConf
    from include.run_conf.reading import Reading

    asked = dict(asked_conf())
    choice = Reading.of(ModelConf, {MODEL_VERSION: asked.pop(MODEL_VERSION, None)})
    changes, problems = RunConf.read_changes(asked)
    hide_queries(changes, problems)
    if choice.problems or problems:
        raise RunConfError([*choice.problems, *problems])
    if not changes.endpoint.deploy:
        raise RunConfError([Problem(field="endpoint.deploy", value=False, remedy="this DAG only deploys: leave it on")])
    running, number = RunningTask.current(), ModelConf.model_validate(choice.document()).model_version
    settings, dataset = running.settings, changes.dataset.name
    sagemaker, s3 = running.client("sagemaker"), running.client("s3")
    if number is None:
        model = last_approved(sagemaker, settings=settings, dataset=dataset)
    else:
        model = numbered(sagemaker, settings=settings, dataset=dataset, version=number)
    if model is None:
        raise NoModelError(f"dataset.name = {dataset}: no approved model. Train one, or approve one with review_model.")
    if not model.approved:
        raise NoModelError(
            f"{MODEL_VERSION} = {number}: {model.group} has it as {model.approval}. Approve it with review_model first."
        )
    log.info("%s version %d, accuracy %.4f.", model.group, model.version, model.accuracy)
    serving = {"endpoint": _serving(running, dataset)}
    conf = RunConf().changed_by(serving, changes.model_dump(mode="json", exclude_unset=True))
    clients = running.access.quick_clients()
    check(conf, settings, s3=clients("s3"), clients=clients, stages=ONLY_DEPLOYS)
    running.leave_out(*idle_tasks(conf, model))
    return {
        "conf": sealed_conf(s3, conf, settings.data_bucket).model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
        "dataset": load(s3, model.dataset_uri).model_dump(mode="json"),
    }


def _serving(running: RunningTask, dataset: str) -> dict[str, Any]:
    """The fields of the dataset's endpoint as it is now: only its name if somebody else's model serves there."""
    from include.promotion.champion import UnknownChampionError, champion_of

    try:
        champion = champion_of(running.client("sagemaker"), settings=running.settings, dataset=dataset)
    except UnknownChampionError as error:
        log.warning("%s", error)
        return {"name": error.endpoint}
    if champion is None or champion.live is None:
        return {}
    log.info("Before, endpoint %s serves version %d.", champion.live.name, champion.version.version)
    return {**champion.live.as_conf(), "keep": True}


@task(task_id="choose_model", multiple_outputs=True)
def choose_predicting_model() -> dict[str, Any]:
    """The run conf, what was asked of the prediction, and the model that predicts; nothing was started yet.

    Raises PreflightError with every problem of conf, settings, model, images and machine.
    """
    from include.preflight.checking import check_prediction
    from include.run_conf import RunConf
    from include.run_conf.endpoint import PredictionConf
    from include.run_conf.reading import Reading

    given = dict(asked_conf())
    own = {name: given.pop(name) for name in PredictionConf.model_fields if name in given}
    reading = Reading.of(PredictionConf, own)
    asked = PredictionConf.model_validate(reading.document()).without(reading.unknown_fields)
    conf, problems = RunConf.read(given)
    hide_queries(conf, problems)
    settings, settings_problems = read_settings()
    reachable = settings.has("region") and settings.has("aws_conn_id")
    model = check_prediction(
        conf,
        asked,
        settings,
        clients=AwsAccess.of(settings).quick_clients() if reachable else None,
        known=[*reading.problems, *problems, *settings_problems],
    )
    log.info("%s predicts the images of %s, packed as %s.", model.name, asked.source, model.dataset.uri)
    s3 = AwsAccess.of(settings).client("s3")
    return {
        "conf": sealed_conf(s3, conf, settings.data_bucket).model_dump(mode="json"),
        "asked": asked.model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
    }

"""Which registered model to deploy: the newest approved one, or the one a person names to roll back."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task

from image_classification.context import RunningTask, asked_conf, hide_queries, sealed_conf

log = logging.getLogger(__name__)

MODEL_VERSION = "model_version"


@task(multiple_outputs=True)
def choose_model() -> dict[str, Any]:
    """The run conf, the chosen model and the dataset version it was trained on.

    Raises RunConfError for a wrong conf and if `endpoint.deploy` is off, and NoModelError for a dataset without an
    approved model or for a named model that is not approved.
    """
    from include.datasets.version import load
    from include.deployment.registry import NoModelError, last_approved, numbered
    from include.problems import Problem
    from include.run_conf import RunConf, RunConfError
    from include.run_conf.reading import Reading
    from include.run_conf.sections import ModelConf

    asked = dict(asked_conf())
    choice = Reading.of(ModelConf, {MODEL_VERSION: asked.pop(MODEL_VERSION, None)})
    conf, problems = RunConf.read(asked)
    hide_queries(conf, problems)
    if choice.problems or problems:
        raise RunConfError([*choice.problems, *problems])
    if not conf.endpoint.deploy:
        raise RunConfError([Problem(field="endpoint.deploy", value=False, remedy="this DAG only deploys: leave it on")])
    running, number = RunningTask.current(), ModelConf.model_validate(choice.document()).model_version
    settings, dataset = running.settings, conf.dataset.name
    sagemaker, s3 = running.client("sagemaker"), running.client("s3")
    if number is None:
        model = last_approved(sagemaker, settings=settings, dataset=dataset)
    else:
        model = numbered(sagemaker, settings=settings, dataset=dataset, version=number)
    if model is None:
        raise NoModelError(f"dataset.name = {dataset}: no approved model. Train one, or approve one in the registry.")
    if not model.approved:
        raise NoModelError(f"{MODEL_VERSION} = {number}: {model.group} has it as {model.approval}. Approve it first.")
    log.info("%s version %d, accuracy %.4f.", model.group, model.version, model.accuracy)
    return {
        "conf": sealed_conf(s3, conf, settings.data_bucket).model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
        "dataset": load(s3, model.dataset_uri).model_dump(mode="json"),
    }

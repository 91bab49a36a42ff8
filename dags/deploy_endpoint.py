"""Deploys a registered model to an endpoint: the newest approved one, or an earlier one to roll back.

`model_version` is the version's number in the model registry's group of `dataset.name`; empty takes the newest
approved one. Only an approved model is deployed: the run fails for any other, so approve a pending one in the registry
first.

**The endpoint** is the dataset's own and keeps its machines if the fields of the form are empty, so a rollback
needs only a `model_version`. If the dataset has none, the new endpoint has the dataset's name. While an endpoint
changes, it serves what it served before. If the new model cannot load, it keeps serving that, and the run fails.

**The rollout** (`endpoint.rollout`) moves the traffic all at once, by canary, in linear steps, or machine by machine.
An alarm on errors or latency moves it back. Then the endpoint must answer held-out images as the model did in its
evaluation. If it does not, it serves again what it served before. In both cases the run fails and names the version
that serves.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import form_params, override_params, run_conf_params
from image_classification.notify import announce_failure
from image_classification.stages.deployment import deployment
from image_classification.tasks.choose_model import choose_model
from image_classification.tasks.summary import summarise
from include.run_conf.endpoint import ModelConf

with DAG(
    "deploy_endpoint",
    description="A registered model -> an endpoint that answers",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "sagemaker", "stage"],
) as dag:
    chosen: Any = choose_model()
    deployed = deployment(chosen["conf"], chosen["dataset"], chosen["model"])
    summarise(chosen["dataset"], registered=chosen["model"], deployed=deployed)

endpoint = {name: param for name, param in override_params("endpoint").items() if name != "endpoint.deploy"}
dag.params.update({**run_conf_params("dataset.name"), **endpoint, **form_params(ModelConf)})

"""A registered model goes to an endpoint: the newest approved one, or any other, to roll back.

`model_version` is the version's number in the model registry's group of `dataset.name`; empty takes the newest
approved one. Only an approved model is deployed: approve a pending one in the registry first. The endpoint is
created or updated; while it changes, what served before goes on serving, and where the new model cannot load, it
stays.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from image_classification.form import run_conf_params
from image_classification.model_choice import choose_model, model_version_param
from image_classification.task_defaults import DEFAULT_ARGS
from image_classification.task_groups.deployment import deployment

with DAG(
    "deploy_endpoint",
    description="A registered model -> an endpoint that answers",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    tags=["image-classification", "sagemaker", "stage"],
) as dag:
    chosen: Any = choose_model()
    deployment(chosen["conf"], chosen["dataset"], chosen["model"])

dag.params.update({**run_conf_params("dataset.name", "endpoint"), **model_version_param()})

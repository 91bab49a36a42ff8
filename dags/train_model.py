"""A published dataset version becomes a registered model.

Takes the version that `dataset.version` names, the newest of `dataset.name` where it is empty; trains or tunes,
selects the best model, trains it further, measures it on the held-out images and registers it, approved from
`promotion.minimum_accuracy` on.

Deploy it with `deploy_endpoint`.
"""

from __future__ import annotations

from airflow.sdk import DAG

from image_classification.form import run_conf_params
from image_classification.preflight import check_conf
from image_classification.summary import summarise
from image_classification.task_defaults import DEFAULT_ARGS
from image_classification.task_groups.dataset import use_version
from image_classification.task_groups.evaluation import evaluation
from image_classification.task_groups.registration import registration
from image_classification.task_groups.training import training

with DAG(
    "train_model",
    description="A dataset version -> train or tune -> incremental -> evaluate -> register",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    tags=["image-classification", "sagemaker", "stage"],
) as dag:
    conf = check_conf(stages=("training",))
    version = use_version(conf)
    models = training(conf, version)
    measured = evaluation(conf, version, models)
    registered = registration(conf, version, models, measured)
    summarise(version, models, measured, registered)

dag.params.update(
    run_conf_params("dataset.name", "dataset.version", "training", "resources", "tuning", "incremental", "promotion")
)

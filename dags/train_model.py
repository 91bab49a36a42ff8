"""A published dataset version becomes a registered model.

Takes the version that `dataset.version` names, or the newest of `dataset.name` if it is empty; trains or tunes,
selects the best model, trains it further, measures it on the held-out images beside the dataset's champion and
registers it, approved if it is not worse (`promotion.compare`) and reaches `promotion.minimum_accuracy`. A model with
other classes than the champion waits for approval, unless `promotion.allow_label_change` is on.

**What is trained.** `training.mode`: `train` one job, or one for each of `training.trials`, which may differ in
hyperparameters and dataset version; `tune` hyperparameters; `both`; or `tune_then_train` a full job with the best
hyperparameters. The best of all is selected, or that of the mode `training.continue_with` names; with
`tune_then_train` the full job. A trial that fails is named and left out if another can be used. Later tasks use the
dataset version of the selected model.

**The leaderboard** of all jobs, `leaderboard.html` and `.json`, is beside the run's report: hyperparameters, every
epoch, seconds, cost. It is written even if no model could be selected.

Deploy it with `deploy_endpoint`.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import run_conf_params
from image_classification.notify import announce_failure
from image_classification.stages.dataset import use_version
from image_classification.stages.evaluation import evaluation
from image_classification.stages.promotion import promotion
from image_classification.stages.training import training
from image_classification.tasks.check_conf import check_conf
from image_classification.tasks.summary import summarise

with DAG(
    "train_model",
    description="A dataset version -> train or tune -> incremental -> evaluate -> register",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "sagemaker", "stage"],
) as dag:
    conf = check_conf(stages=("training",))
    version = use_version(conf)
    models: Any = training(conf, version)
    used, trained_on = models["conf"], models["dataset"]
    measured = evaluation(used, trained_on, models)
    registered = promotion(used, trained_on, models, measured)
    summarise(trained_on, models, measured, registered)

dag.params.update(
    run_conf_params(
        "preset", "dataset.name", "dataset.version", "training", "resources", "tuning", "incremental", "promotion"
    )
)

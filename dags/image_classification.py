"""The whole chain, from images in S3 to an endpoint that answers.

Images of any source that `build_dataset` takes become a dataset version: split, packed as RecordIO by mapped tasks,
published. A training job, several of them (`training.trials`), a tuning job, or both (`training.mode`) learn from it
on SageMaker. The best model is trained further (`incremental.enabled`), and a leaderboard compares all jobs. A batch
transform of the packed test images measures the result, and the dataset's champion answers the same images; the report
is in S3. The model is registered. It is approved and deployed (`endpoint.deploy`) if it is not worse than the champion
(`promotion.compare`), reaches `promotion.minimum_accuracy` and has the champion's classes. The endpoint is
tested on held-out images, and deleted again if `endpoint.keep` is off.

**Start it** with the page "New run" (under Models), which shows plan and cost first, or with the form, the API or the
CLI. Every field has a default, and a `preset` fills in a whole run. `check_conf` reports everything that is
wrong with conf, settings, buckets and source in one message before anything costs money.

**Safe to clear, retry and kill.** A job's name follows from run and task: a retried task finds the job it started.
Clearing a waiting task, or marking it as failed, stops its job. If the triggerer is down then, the job is not stopped:
it ends at `resources.max_runtime_seconds`, and clearing the task once more finds it. Waiting tasks use no
worker; their log shows the job's own lines.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import run_conf_params
from image_classification.notify import announce_failure
from image_classification.stages.dataset import dataset
from image_classification.stages.deployment import deployment
from image_classification.stages.evaluation import evaluation
from image_classification.stages.promotion import promotion
from image_classification.stages.training import training
from image_classification.tasks.check_conf import check_conf
from image_classification.tasks.summary import summarise

with DAG(
    "image_classification",
    description="Images in S3 -> dataset -> train or tune -> incremental -> evaluate -> register -> deploy -> predict",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "sagemaker", "chain"],
) as dag:
    conf = check_conf()
    version = dataset(conf)
    models: Any = training(conf, version)
    used, trained_on = models["conf"], models["dataset"]
    measured = evaluation(used, trained_on, models)
    registered = promotion(used, trained_on, models, measured)
    deployed = deployment(used, trained_on, registered, measured)
    summarise(trained_on, models, measured, registered, deployed)

# After the tasks: Airflow copies what is set before into every one of them, a megabyte for this DAG.
dag.params.update(run_conf_params())

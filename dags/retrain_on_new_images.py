"""The endpoint improves as images arrive, without anyone asking.

Starts when S3 announces new images in the queue of the installation's settings, and every hour (the setting
`retraining_cron`) in case such a message was lost. All waiting messages, with those of an upload that is not finished,
become one event of two numbers: how many messages, and about how many images.

Such a run is a **look**: `find_grown_datasets` compares the images of each dataset with its version, and
`start_retraining` starts a run for each one that has enough new images (`retraining.min_new_images`). It ends in
seconds. The runs that it starts are called `retrain__DATASET__VERSION__...`. To retrain one dataset by hand, start this
DAG with `dataset.name`.

**A retraining** adds a version to its dataset: only the new images are packed, and the earlier ones keep their split.
The dataset's champion is trained further with it. Champion and new model are compared on the same held-out images, the
new ones among them. The new model is registered, and deployed to the dataset's endpoint if it is not worse
(`promotion.compare`) and reaches `promotion.minimum_accuracy`; else the endpoint keeps the champion. If no new image
can be read, or all are held out, `has_gained` ends the run before anything is trained.

**The champion** is the model that the dataset's endpoint serves, also after a rollback or a change by hand. If nothing
serves, it is the model that was deployed last. The version that grows is the newest one with the champion's classes.
If the endpoint serves a model that was not registered for the dataset, the run names it and leaves it alone.

**The run conf** is that of the run which trained the champion: machine, threshold, hyperparameters. The endpoint keeps
its name and its machines. The settings' `lines` change fields for one dataset. A field of this form changes one run; an
empty field changes nothing. Source, labels, split and packing are the version's.

A new class folder is named in the log, with the run conf of a full training, and left out: classes cannot be added to
a trained model. With `retraining.new_classes: train` a look starts that run of `image_classification`; its model waits
for a person.

Each dataset has one run at a time; several datasets run side by side. Images that arrive during their dataset's run are
found by a later look. The next look repeats a run that failed before its dataset version was published. It does not
repeat one that failed later, which would fail again every hour: clear its failed task.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import override_params
from image_classification.notify import announce_failure
from image_classification.operators.start_run import StartRunOperator
from image_classification.stages.dataset import dataset
from image_classification.stages.deployment import deployment
from image_classification.stages.evaluation import evaluation
from image_classification.stages.promotion import promotion
from image_classification.stages.training import training
from image_classification.tasks.growth import find_grown_datasets, find_new_images, has_gained
from image_classification.tasks.summary import summarise
from image_classification.triggers.new_images import on_new_images

with DAG(
    "retrain_on_new_images",
    description="New images -> grown dataset -> the champion trained further -> evaluate -> register -> deploy",
    doc_md=__doc__,
    schedule=on_new_images(),
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "sagemaker", "chain"],
) as dag:
    grown: Any = find_grown_datasets()
    StartRunOperator.partial(task_id="start_retraining", map_index_template="{{ task.dataset }}").expand_kwargs(grown)

    found: Any = find_new_images()
    conf = found["conf"]
    version: Any = has_gained(dataset(conf, found["parent"]))
    models: Any = training(conf, version, found["champion"])
    used, trained_on = models["conf"], models["dataset"]
    measured = evaluation(used, trained_on, models)
    registered = promotion(used, trained_on, models, measured)
    deployed = deployment(used, trained_on, registered, measured)
    summarise(trained_on, models, measured, registered, deployed)

dag.params.update(
    override_params("dataset.name", "incremental", "resources", "evaluation", "promotion", "endpoint", "retraining")
)

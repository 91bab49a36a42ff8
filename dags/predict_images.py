"""What a model sees in all images under a prefix: names and probabilities in one Parquet file.

`source` is the prefix. The model is the champion of `dataset.name` (what its endpoint serves, or else the version that
was promoted last), the version `model_version` of it, or the one that the endpoint `model_of_endpoint` serves.
`endpoint.instance_type` is the machine.

`choose_model` reports everything that is wrong with conf, model, images, role, quota and cost in one message before
anything costs money. Tasks mapped over shards pack the images as the dataset version was packed that the model learned
from. One batch transform answers them, whatever their number. A retried
task finds its job, and clearing or killing the task stops it.

`predictions.parquet` is under `output`, or under `s3://OUTPUT/predictions/RUN/`. It has a row for each image, in the
order of the keys:

- `key`, `label` and `probability`: the image and its most probable class
- `labels`: the classes that it shows; for a model of several labels per image, all from `threshold` on
- `top_labels`, `top_probabilities`: the `top_k` most probable classes
- `status`, `reason`: `packed`, or why the image could not be predicted; it has no label then

The run fails if no image can be packed. Nothing is deployed, and no endpoint is needed.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import form_params, run_conf_params
from image_classification.notify import announce_failure
from image_classification.stages.prediction import prediction
from image_classification.tasks.choose_model import choose_predicting_model
from include.run_conf.endpoint import PredictionConf

with DAG(
    "predict_images",
    description="Images in S3 and a registered model -> names and probabilities in a Parquet",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "sagemaker", "stage"],
) as dag:
    chosen: Any = choose_predicting_model()
    prediction(chosen["conf"], chosen["asked"], chosen["model"])

machine = ("endpoint.instance_type", "resources.max_cost")
dag.params.update({**form_params(PredictionConf), **run_conf_params("dataset.name", *machine)})

"""How good is a live endpoint?

Sends the packed test images of a dataset version to the endpoint, as the evaluation did, and measures the answers. The
endpoint is `endpoint.name`, or the one called as the dataset; the version is `dataset.version`, or the newest. The run
fails below `promotion.minimum_accuracy`, if that is given, so that an alarm on failed runs reports an endpoint that has
become worse.
"""

from __future__ import annotations

from airflow.sdk import DAG

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import run_conf_params
from image_classification.stages.dataset import use_version
from image_classification.tasks.check_conf import check_conf
from image_classification.tasks.endpoint_check import measure_endpoint

with DAG(
    "evaluate_endpoint",
    description="A live endpoint -> its accuracy on held-out images",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    tags=["image-classification", "stage"],
) as dag:
    conf = check_conf(stages=())
    measure_endpoint(conf, use_version(conf))

dag.params.update(run_conf_params("dataset.name", "dataset.version", "endpoint.name", "promotion.minimum_accuracy"))

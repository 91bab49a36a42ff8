"""How good is a live endpoint, and has it become worse?

Sends packed test images of a dataset version to the endpoint, as the evaluation did, and measures the answers: accuracy
with its interval, every class, latency (median, p90, p99) and images per second. The report has the files of an
evaluation's report; the task links to it. `evaluation.sample.images` sends a sample, for example of 30 images.
`evaluation.images: source` sends the source objects as they are, to measure the answers to a client that packs nothing.

**Which endpoint:** `endpoint.name`, or that of `dataset.name`, or those of all datasets if both are empty. The version
is `dataset.version`, or the newest with the classes of the served model.

**The run fails** if the accuracy has dropped by more than chance explains, or if it is below
`promotion.minimum_accuracy`. All other endpoints are still measured. If the served version has answered the same
images in an evaluation, the pairs of answers are compared (McNemar's exact test). Else its registered accuracy is
compared: it has dropped if the 95 % interval of the difference is below zero.

**On a schedule:** the setting `endpoint_check_cron`, for example `30 5 * * *`, measures the endpoints of all datasets
then. An alarm on failed runs then reports an endpoint that has become worse.
"""

from __future__ import annotations

from airflow.sdk import DAG

from image_classification.context import endpoint_check_schedule
from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import override_params
from image_classification.notify import announce_failure
from image_classification.tasks.endpoint_check import measure_endpoints

with DAG(
    "evaluate_endpoint",
    description="Live endpoints -> their accuracy and latency on held-out images, beside the registered figures",
    doc_md=__doc__,
    schedule=endpoint_check_schedule(),
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "stage"],
) as dag:
    measure_endpoints()

dag.params.update(
    override_params(
        "dataset.name",
        "dataset.version",
        "endpoint.name",
        "evaluation",
        "promotion.minimum_accuracy",
    )
)

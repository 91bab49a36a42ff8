"""A folder of this project with a Dockerfile becomes a container image in ECR, which training and endpoints run.

The task returns the image's address by its digest, and the note of the run shows it. A run trains with it by
`training.algorithm.kind: container` and this address as `training.algorithm.image`.

**What it does.** It builds the folder with Docker, makes the repository if there is none (scanned on push, immutable
tags, a lifecycle policy, encrypted with the installation's key, tagged), pushes the image, and waits for its scan. The
tag is a hash of the folder's content, so an unchanged folder is not built and pushed a second time.

**The run fails** if the scan has a finding of `severity` or above, with the worst of them by name. The image stays in
the repository; its address is not returned. An image whose system ECR cannot scan is published with a warning.

**It needs** a Docker engine on the worker that runs the task. If no worker has one, publish from a machine that
has Docker: `python -m include.algorithms.publish FOLDER NAME`. The base image in the Dockerfile is pulled with the
credentials of an earlier `docker login` there.
"""

from __future__ import annotations

from airflow.sdk import DAG

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import form_params
from image_classification.notify import announce_failure
from image_classification.tasks.publish import publish_image
from include.algorithms.publish import PublishConf

with DAG(
    "publish_training_image",
    description="A folder with a Dockerfile -> a scanned image in ECR, by its digest",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=4,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "stage"],
) as dag:
    publish_image()

dag.params.update(form_params(PublishConf))

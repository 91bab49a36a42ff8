"""Images in S3 become a dataset version.

Archives and finished record files are unpacked first, once for each content. Class folders of images are split into
train, validation and test, packed as RecordIO by tasks mapped over shards, and published as a version that never
changes. What became of every image, the broken ones too, stands in the version's `manifest.parquet`. The version is
announced as an event of the asset `image-dataset-version`, with its name, address and counts.

Train from it with `train_model`.
"""

from __future__ import annotations

from airflow.sdk import DAG

from image_classification.form import run_conf_params
from image_classification.preflight import check_conf
from image_classification.task_defaults import DEFAULT_ARGS
from image_classification.task_groups.dataset import dataset

with DAG(
    "build_dataset",
    description="Images in S3 -> a dataset version",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    tags=["image-classification", "stage"],
) as dag:
    dataset(check_conf())

dag.params.update(run_conf_params("dataset"))

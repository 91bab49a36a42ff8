"""Images become a dataset version: record files for training, and a table of what became of every image.

`dataset.source` is where the images are: class folders or folders per split in S3, a table of labels or a `.lst` over
images in any bucket, an archive or finished `.rec` files in S3 or on the web. Archives and `.rec` files are unpacked
first, once for each content. Images are split into train, validation and test, packed as RecordIO by tasks mapped over
shards, and published as a version that never changes:

- `train.rec`, `validation.rec`, `test.rec` with their `.idx`
- `manifest.parquet`: what became of every image, the bad ones too, and why
- `report.html`: the page for people, with figures and thumbnails
- `dataset.json`, written last: counts, classes, and all that training needs to know

The version is announced as an event of the asset `image-dataset-version`, with its name, address and counts. Train
from it with `train_model`.
"""

from __future__ import annotations

from airflow.sdk import DAG

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import run_conf_params
from image_classification.notify import announce_failure
from image_classification.stages.dataset import dataset
from image_classification.tasks.check_conf import check_conf

with DAG(
    "build_dataset",
    description="Images in S3 -> a dataset version",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "stage"],
) as dag:
    dataset(check_conf(stages=("dataset",)))

dag.params.update(run_conf_params("preset", "dataset"))

"""Assets: what a DAG makes and another may start on."""

from __future__ import annotations

from airflow.sdk import Asset

# A URI with a scheme would make every DAG file that names the asset load all of Airflow's providers, 0.3 s of CPU.
DATASET_VERSION = Asset(name="image-dataset-version", group="image-classification")
"""A published dataset version; the event's extra holds `name`, `version`, `uri` and `counts`."""

"""The executor of the demo for the Airflow of the tests, whose tasks find this project loaded."""

from __future__ import annotations

import sys
from importlib import import_module

import boto3

from demo.local_executor import WarmLocalExecutor
from tests.support.airflow_once import check_schemas_once
from tests.support.boto_definitions import read_definitions_once

LOADED_BY_MOST_TASKS = (
    "dags.image_classification",
    "dags.retrain_on_new_images",
    "include.evaluation.comparison",
    "include.preflight.checking",
)
SERVICES = ("logs", "s3", "sagemaker")
"""Those that most tasks call. Reading SageMaker's definition takes as long as most tasks."""


def load_project() -> None:
    """Load what most tasks spend half of their time on, and check the forms' fields as every task does."""
    check_schemas_once()
    read_definitions_once()
    session = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1")
    for service in SERVICES:
        session.client(service)
    for name in LOADED_BY_MOST_TASKS:
        import_module(name)
    sys.modules["dags.image_classification"].dag.params.validate()


class LoadedLocalExecutor(WarmLocalExecutor):
    """Loads the project, and forks its workers then: also those of a scheduler that is started by itself."""

    def start(self) -> None:
        """Load, and start the workers."""
        load_project()
        super().start()

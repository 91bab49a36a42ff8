"""The executor of the demo for the Airflow of the tests, where tasks find this project loaded: it does not change."""

from __future__ import annotations

import sys
from importlib import import_module

from demo.local_executor import WarmLocalExecutor
from tests.support.airflow_once import check_schemas_once

LOADED_BY_MOST_TASKS = ("dags.image_classification", "dags.retrain_on_new_images", "include.preflight")


class LoadedLocalExecutor(WarmLocalExecutor):
    """Loads what most tasks spend half of their time on, and forks its workers then."""

    def start(self) -> None:
        """Load, check the forms' fields as every task does, and start the workers."""
        check_schemas_once()
        for name in LOADED_BY_MOST_TASKS:
            import_module(name)
        sys.modules["dags.image_classification"].dag.params.validate()
        super().start()

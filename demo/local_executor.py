"""Airflow's local executor, with workers that begin with what every task loads: half of what it takes to start a task.

A worker is a fork of the scheduler and a task is a fork of a worker, so that what the scheduler has loaded costs a task
nothing. Of this project nothing is loaded: a task reads its code as it is then.
"""

from __future__ import annotations

from importlib import import_module

from airflow.executors.local_executor import LocalExecutor

LOADED_BY_TASKS = (
    "airflow.dag_processing.dagbag",
    "airflow.providers.amazon.aws.hooks.base_aws",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.decorators.short_circuit",
    "boto3.session",
    "numpy",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.metrics",
)


class WarmLocalExecutor(LocalExecutor):
    """Loads what tasks load, and forks its workers then."""

    def start(self) -> None:
        """Load, and start the workers."""
        for name in LOADED_BY_TASKS:
            import_module(name)
        super().start()

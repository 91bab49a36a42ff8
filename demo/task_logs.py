"""Airflow's logging where all its parts run on one machine: the API server reads each task's log from its file.

Airflow also asks the worker or triggerer of a task that has not ended for its log over HTTP. Here nothing serves it, so
that every log of a waiting task would begin with "Could not read served logs".
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG
from airflow.utils.log.file_task_handler import FileTaskHandler


class LocalTaskLogs(FileTaskHandler):
    """Reads logs from files alone."""

    def _read_from_logs_server(self, *_: Any) -> tuple[list[str], list[Any]]:
        return [], []


LOGGING_CONFIG: dict[str, Any] = deepcopy(DEFAULT_LOGGING_CONFIG)
LOGGING_CONFIG["handlers"]["task"]["class"] = f"{__name__}.{LocalTaskLogs.__name__}"

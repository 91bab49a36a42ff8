"""Airflow whose parts all run on one machine: `python -m demo.airflow_standalone`.

It is `airflow standalone` that listens on loopback alone. Airflow's scheduler and triggerer serve their logs to other
machines, on every interface: the host is not a setting. On one machine the API server reads the same files, so those
servers are left out, and `LOGGING_CONFIG` keeps the API server from asking them: every log of a waiting task would
begin with "Could not read served logs".
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG
from airflow.utils.log.file_task_handler import FileTaskHandler

LOG_SERVING = frozenset({"scheduler", "triggerer"})


class LocalTaskLogs(FileTaskHandler):
    """Reads logs from files alone."""

    def _read_from_logs_server(self, *_: Any) -> tuple[list[str], list[Any]]:
        return [], []


LOGGING_CONFIG: dict[str, Any] = deepcopy(DEFAULT_LOGGING_CONFIG)
LOGGING_CONFIG["handlers"]["task"]["class"] = f"{__name__}.{LocalTaskLogs.__name__}"


def main() -> None:
    """Run every component until interrupted."""
    # Airflow loads LOGGING_CONFIG in each of its processes: this module must need no more of it than logging.
    from airflow.cli.commands import standalone_command  # noqa: PLC0415

    class Component(standalone_command.SubCommand):
        """A component of Airflow that opens no log server."""

        def __init__(self, parent: Any, name: str, command: list[str], env: dict[str, str]) -> None:
            super().__init__(parent, name, [*command, "--skip-serve-logs"] if name in LOG_SERVING else command, env)

    standalone_command.SubCommand = Component  # type: ignore[misc]
    standalone_command.StandaloneCommand().run()


if __name__ == "__main__":
    main()

"""Airflow whose parts all run on one machine: `python -m demo.airflow_standalone`.

It is `airflow standalone` that listens on loopback alone. Airflow's scheduler and triggerer serve their logs to other
machines, on every interface: the host is not a setting. On one machine the API server reads the same files, so those
servers are left out, and `LOGGING_CONFIG` keeps the API server from asking them: every log of a waiting task would
begin with "Could not read served logs".

The parts are forks of one process, which loads Airflow once for all of them: starting them takes half of the work.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
from copy import deepcopy
from importlib import import_module
from typing import Any

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG
from airflow.utils.log.file_task_handler import FileTaskHandler

from demo.local_executor import LOADED_BY_TASKS

LOG_SERVING = frozenset({"scheduler", "triggerer"})
LOADED_BY_PARTS = (
    "airflow.__main__",
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.core_api.routes.public",
    "airflow.api_fastapi.core_api.routes.ui",
    "airflow.api_fastapi.execution_api.versions",
    "airflow.cli.commands.api_server_command",
    "airflow.cli.commands.dag_processor_command",
    "airflow.cli.commands.scheduler_command",
    "airflow.cli.commands.triggerer_command",
    *LOADED_BY_TASKS,
)
"""Of this project nothing: the DAG processor and the tasks read its code as it is then."""


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

    gc.disable()  # what is loaded stays: looking for garbage in it takes a quarter of the time
    for name in LOADED_BY_PARTS:
        import_module(name)
    gc.freeze()
    gc.enable()
    level = logging.getLogger().level
    outputs: list[int] = []

    class Component(standalone_command.SubCommand):
        """A component of Airflow that opens no log server, in a fork of this process."""

        def __init__(self, parent: Any, name: str, command: list[str], env: dict[str, str]) -> None:
            shown = [*command, "--skip-serve-logs"] if name in LOG_SERVING else command
            super().__init__(parent, name, shown, env)
            self.output, output = os.pipe()
            outputs.append(self.output)
            fork = multiprocessing.get_context("fork")
            self.process: Any = fork.Process(target=_become, args=(shown, env, output, outputs, level))
            self.process.start()  # no thread runs yet: Airflow makes all of its components first
            os.close(output)

        def run(self) -> None:
            """Pass its lines on, until it has ended."""
            with os.fdopen(self.output, "rb") as lines:
                for line in lines:
                    self.parent.output_queue.append((self.name, line))
            self.process.join()

    standalone_command.SubCommand = Component  # type: ignore[misc]
    standalone_command.StandaloneCommand().run()


def _become(command: list[str], env: dict[str, str], output: int, others: list[int], level: int) -> None:
    """Continue as `airflow COMMAND`, with the lines going to `output`."""
    import sys  # noqa: PLC0415

    from airflow.__main__ import main as airflow  # noqa: PLC0415
    from setproctitle import setproctitle  # noqa: PLC0415

    for stream in (1, 2):
        os.dup2(output, stream)
    for descriptor in (output, *others):
        os.close(descriptor)
    sys.argv = ["airflow", *command]
    setproctitle(" ".join(sys.argv))  # before the environment is written, which moves what it starts from
    os.environ.update(env)
    logging.getLogger().setLevel(level)  # the parent of the components shows warnings alone
    airflow()


if __name__ == "__main__":
    main()

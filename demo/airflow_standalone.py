"""`airflow standalone` that listens on loopback alone: `python -m demo.airflow_standalone`.

Airflow's scheduler and triggerer serve their logs to other machines, on every interface: the host is not a setting.
On one machine the API server reads the same files, so that those servers are left out.
"""

from __future__ import annotations

from typing import Any

from airflow.cli.commands import standalone_command

LOG_SERVING = frozenset({"scheduler", "triggerer"})


class Component(standalone_command.SubCommand):
    """A component of Airflow that opens no log server."""

    def __init__(self, parent: Any, name: str, command: list[str], env: dict[str, str]) -> None:
        super().__init__(parent, name, [*command, "--skip-serve-logs"] if name in LOG_SERVING else command, env)


def main() -> None:
    """Run every component until interrupted."""
    standalone_command.SubCommand = Component  # type: ignore[misc]
    standalone_command.StandaloneCommand().run()


if __name__ == "__main__":
    main()

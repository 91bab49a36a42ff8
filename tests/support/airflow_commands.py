"""Several commands of Airflow in one process: `python -m tests.support.airflow_commands airflow dags list :then: ...`.

Each would load the same 1,500 modules. They are parsed and called as the program `airflow` does it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

THEN = ":then:"


def commands(words: Sequence[str]) -> Iterator[list[str]]:
    """The words of each command, without `airflow`."""
    rest = [*words]
    while rest:
        end = rest.index(THEN) if THEN in rest else len(rest)
        program, *arguments = rest[:end]
        assert program == "airflow", rest[:end]
        yield arguments
        del rest[: end + 1]


def main(words: Sequence[str]) -> None:
    from airflow.cli.cli_parser import get_parser  # noqa: PLC0415  (it reads the environment)

    parser = get_parser()
    for arguments in commands(words):
        asked = parser.parse_args(arguments)
        asked.func(asked)


if __name__ == "__main__":
    main(sys.argv[1:])

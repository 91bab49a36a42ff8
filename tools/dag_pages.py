"""Print docs/reference/dags.md: `PYTHONPATH=.:plugins python tools/dag_pages.py > docs/reference/dags.md`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import DAG

HEADER = """\
# The DAGs

Printed by `python tools/dag_pages.py` from the DAGs' own pages, which Airflow's UI shows too.
"""


def dag_pages(dags: dict[str, DAG]) -> str:
    """One page for all DAGs: each with its prose and its tasks in the order in which they run."""
    return "\n".join([HEADER, *(_section(dags[name]) for name in sorted(dags))])


def _section(dag: DAG) -> str:
    tasks = " -> ".join(f"`{task.task_id}`" for task in dag.topological_sort())
    return f"## `{dag.dag_id}`\n\n{(dag.doc_md or '').strip()}\n\nTasks: {tasks}\n"


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # Airflow's log goes to where standard output was when it was imported
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(Path(__file__).resolve().parents[1] / "dags")
    sys.stdout.write(dag_pages(bag.dags))

"""A DAG run as `DAG.test` runs it: every task in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.airflow_home import ROOT


@dataclass(frozen=True)
class Run:
    """A finished run: its state, its tasks' states, what they handed on, and where their link `Report` leads."""

    state: str
    tasks: dict[str, str]
    returned: dict[str, Any]
    reports: dict[str, str]

    @property
    def registered(self) -> dict[str, Any]:
        """The version that the run registered."""
        document: dict[str, Any] = self.returned["registration.register_model"]
        return document


Test = Callable[[str, dict[str, Any]], Run]


def runner() -> Test:
    """A function that runs a DAG with a conf and waits for its end."""
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415  (the home comes first)

    bag = DagBag(ROOT / "dags")

    def run(dag_id: str, conf: dict[str, Any]) -> Run:
        dag_run = bag.dags[dag_id].test(run_conf=conf)
        instances = dag_run.get_task_instances()
        return Run(
            state=str(dag_run.state),
            tasks={instance.task_id: str(instance.state) for instance in instances},
            returned={
                instance.task_id: instance.xcom_pull(instance.task_id, map_indexes=instance.map_index)
                for instance in instances
            },
            reports={
                instance.task_id: instance.xcom_pull(
                    instance.task_id, key="_link_report", map_indexes=instance.map_index
                )
                for instance in instances
            },
        )

    return run

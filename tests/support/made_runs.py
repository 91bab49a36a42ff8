"""Runs in Airflow's database that no scheduler runs: with all their tasks, in the state that a test wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest


@dataclass(frozen=True)
class MadeRuns:
    """Runs of the project's DAGs. They are gone after the test, those too that other sessions were to see."""

    dags: Mapping[str, Any]
    session: Any
    shown: list[str] = field(default_factory=list)

    def make(self, dag_id: str, *, state: str = "running", **columns: Any) -> Any:
        """A run that was started by hand now; `columns` are others of `create_dagrun`, such as `conf` and `note`."""
        from airflow._shared.timezones import timezone  # noqa: PLC0415  (the home comes first)
        from airflow.utils.state import DagRunState  # noqa: PLC0415
        from airflow.utils.types import DagRunTriggeredByType, DagRunType  # noqa: PLC0415

        now = timezone.utcnow()
        dag_run = self.dags[dag_id].create_dagrun(
            run_id=f"made-{uuid4().hex[:8]}",
            run_after=now,
            start_date=now,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState(state),
            session=self.session,
            **columns,
        )
        dag_run.dag = self.dags[dag_id]
        return dag_run

    def show(self, dag_run: Any) -> str:
        """Let other sessions see a run, as it is now; its id."""
        self.shown.append(dag_run.run_id)
        self.session.commit()
        return self.shown[-1]


@pytest.fixture(scope="session")
def serialized_dags(airflow_database: None, request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """The DAGs as Airflow's database has them; those of the fixture `dag_bag` if it has none yet."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: PLC0415  (the home comes first)
    from airflow.dag_processing.dagbag import sync_bag_to_db  # noqa: PLC0415
    from airflow.models.serialized_dag import SerializedDagModel  # noqa: PLC0415

    known: dict[str, Any] = SerializedDagModel.read_all_dags()
    if not known:
        DagBundlesManager().sync_bundles_to_db()
        sync_bag_to_db(request.getfixturevalue("dag_bag"), "dags-folder", None)
        known = SerializedDagModel.read_all_dags()
    return known


@pytest.fixture
def made_runs(serialized_dags: Mapping[str, Any]) -> Iterator[MadeRuns]:
    """Makes runs in a session of the test's own."""
    from airflow.models.dagrun import DagRun  # noqa: PLC0415  (the home comes first)
    from airflow.utils.session import create_session  # noqa: PLC0415

    with create_session() as session:
        runs = MadeRuns(serialized_dags, session)
        yield runs
        session.rollback()
        session.query(DagRun).filter(DagRun.run_id.in_(runs.shown)).delete()

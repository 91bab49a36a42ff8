"""An Airflow plugin: a run's note is the sentence that its task `summarise` or `measure_endpoint` passed on.

The note of a run that has failed begins with the tasks that failed, and why, the first one first: on the run's page
that stands above `summarise`, which shows `upstream_failed` whatever has failed.

A task cannot write the note of its run: the API for tasks has no call for that, and its token is refused by the public
API. So the note is written where Airflow notes that the run has ended, in the scheduler. The sentence is also in the
task's log. Nothing else of this folder is an Airflow plugin.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

NOTE = "image_classification_note"
"""The XCom that holds the sentence; no other DAG's tasks pass on one of this name."""
LINKED = "Its jobs and reports"
"""The text of the link below the sentence."""
FAILURE = "image_classification_failure"
"""The XCom that holds why a task has failed."""
FAILED = "Failed: "
MOST_FAILURES = 3
LONGEST = 1000
"""Characters that Airflow keeps of a note."""


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:  # noqa: ARG001  (Airflow calls it by these names)
    """Write the note of a run that has succeeded."""
    _write_note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:  # noqa: ARG001
    """Write the note of a run that has failed after a task had something to say."""
    _write_note(dag_run)


def _write_note(dag_run: DagRun) -> None:
    """Take the sentences from the database that Airflow has just noted the run's end in.

    A note that was there, of a person or of what started the run, stays below them.
    """
    from airflow.models.xcom import XComModel
    from airflow.utils.state import DagRunState
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return
    handed_on = select(XComModel).where(XComModel.dag_run_id == dag_run.id, XComModel.key == NOTE)
    with session.no_autoflush:
        sentences = [XComModel.deserialize_value(row) for row in session.scalars(handed_on)]
        failures = _failures(dag_run, session) if dag_run.state == DagRunState.FAILED else []
    noted = dag_run.note or ""
    own = (FAILED, f"[{LINKED}]")  # of an earlier end
    before = "\n".join(line for line in noted.splitlines() if not line.startswith(own))
    new = [*failures, *(sentence for sentence in sorted(map(str, sentences)) if sentence not in before)]
    note = "\n".join([*new, *([before] if before else [])])
    if new or LINKED in noted:
        from image_classification.links import jobs_page

        link = f"\n[{LINKED}]({jobs_page(dag_run.dag_id, dag_run.run_id)})"
        note = f"{note[: LONGEST - len(link)]}{link}"
    if note != noted:
        dag_run.note = note


def _failures(dag_run: DagRun, session: Any) -> list[str]:
    """A line for each of the first failed tasks of a run that has failed: its name and its message."""
    from airflow.models.xcom import XComModel
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    handed_on = select(XComModel).where(XComModel.dag_run_id == dag_run.id, XComModel.key == FAILURE)
    messages = {(row.task_id, row.map_index): XComModel.deserialize_value(row) for row in session.scalars(handed_on)}
    failed = [ti for ti in dag_run.get_task_instances(session=session) if ti.state == TaskInstanceState.FAILED]
    failed.sort(key=lambda ti: (ti.end_date is None, ti.end_date, ti.task_id, ti.map_index))
    lines = []
    for ti in failed[:MOST_FAILURES]:
        name = ti.task_id if ti.map_index < 0 else f"{ti.task_id} [{ti.rendered_map_index or ti.map_index}]"
        message = messages.get((ti.task_id, ti.map_index))
        lines.append(f"{FAILED}{name}{f': {message}' if message else ''}")
    more = len(failed) - MOST_FAILURES
    return [*lines, *([f"{FAILED}{more} more tasks"] if more > 0 else [])]


class RunNotes(AirflowPlugin):
    """What Airflow loads."""

    name = "image_classification_run_notes"
    listeners = [sys.modules[__name__]]  # noqa: RUF012  (Airflow declares it so)

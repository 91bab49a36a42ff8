"""An Airflow plugin: a run's note is the sentence that its task `summarise` or `measure_endpoint` handed on.

A task cannot write the note of its run: the API for tasks has no call for that, and its token is refused by the public
API. So the note is written where Airflow notes that the run has ended, in the scheduler. The sentence is also in the
task's log. Nothing else of this folder is an Airflow plugin.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

NOTE = "image_classification_note"
"""The XCom that holds the sentence; no other DAG's tasks hand on one of this name."""
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
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return
    handed_on = select(XComModel).where(XComModel.dag_run_id == dag_run.id, XComModel.key == NOTE)
    with session.no_autoflush:
        sentences = [XComModel.deserialize_value(row) for row in session.scalars(handed_on)]
    before = dag_run.note or ""
    new = [sentence for sentence in sorted(map(str, sentences)) if sentence not in before]
    if new:
        dag_run.note = "\n".join([*new, *([before] if before else [])])[:LONGEST]


class RunNotes(AirflowPlugin):
    """What Airflow loads."""

    name = "image_classification_run_notes"
    listeners = [sys.modules[__name__]]  # noqa: RUF012  (Airflow declares it so)

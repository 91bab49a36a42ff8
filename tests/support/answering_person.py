"""Somebody who answers what a run asks in Airflow, or lets the time run out.

`DAG.test` keeps a run alive that waits for a person. What is done here with the answer is what Airflow's API does, and
what its scheduler does when the time is over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import tests.support.airflow_home  # noqa: F401  (before anything imports airflow)

log = logging.getLogger(__name__)

PAUSE = 0.2


@contextmanager
def person(choice: str | None, reason: str = "", *, who: str = "Ada") -> Iterator[list[str]]:
    """Answer every question with this choice while the block runs; with None nobody does. Yields what was asked."""
    asked: list[str] = []
    over = threading.Event()

    def answer() -> None:
        while not over.wait(PAUSE):
            asked.extend(_answered(choice, reason, who))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()


def _answered(choice: str | None, reason: str, who: str) -> list[str]:
    """Answer what is asked now; returns its texts. Without a choice only what has waited long enough is answered."""
    from airflow._shared.timezones import timezone  # noqa: PLC0415  (the home comes first)
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner  # noqa: PLC0415
    from airflow.models.taskinstance import TaskInstance  # noqa: PLC0415
    from airflow.models.trigger import handle_event_submit  # noqa: PLC0415
    from airflow.triggers.base import TriggerEvent  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415
    from airflow.utils.state import TaskInstanceState  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415
    from sqlalchemy.orm import joinedload  # noqa: PLC0415

    with create_session() as session:
        waiting: Any = session.scalars(
            select(TaskInstance)
            .where(TaskInstance.state == TaskInstanceState.AWAITING_INPUT)
            .options(joinedload(TaskInstance.hitl_detail))
        ).all()
        if choice is None:
            due = [each for each in waiting if each.trigger_timeout and each.trigger_timeout < timezone.utcnow()]
            texts = [f"{each.hitl_detail.subject}\n{each.hitl_detail.body}" for each in due]
            if due:
                runner: Any = SimpleNamespace(log=log)
                SchedulerJobRunner.check_awaiting_input_timeouts(runner, session=session)
            return texts
        texts = []
        for each in waiting:
            detail = each.hitl_detail
            if (
                detail.responded_at is None
            ):  # else `DAG.test` has noted late that the task waits: the answer is repeated
                texts.append(f"{detail.subject}\n{detail.body}")
            detail.chosen_options, detail.params_input = [choice], {"reason": reason}
            detail.responded_by, detail.responded_at = {"id": who.lower(), "name": who}, timezone.utcnow()
            handle_event_submit(TriggerEvent(detail.as_resume_event_payload()), task_instance=each, session=session)
        return texts

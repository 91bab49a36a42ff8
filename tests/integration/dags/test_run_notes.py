"""The note of a run, as Airflow's scheduler writes it when the run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.utils.state import TaskInstanceState

from image_classification.context import NOTE
from image_classification.defaults import FAILURE, keep_failure
from plugins import run_notes
from tests.support.made_runs import MadeRuns
from tests.support.running_task import airflow_context

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

SENTENCE = "digits v5: 97.5% on 400 images (champion 97.5%, not worse), canary done, serving at digits"


def ended(
    made_runs: MadeRuns, sentences: list[str], *, state: str = "success", note: str | None = None, failure: str = ""
) -> Any:
    """A run of `evaluate_endpoint` that Airflow has just seen the end of, whose task handed on sentences.

    With a `failure` the task failed with this message, and what follows it never ran.
    """
    from airflow.models.xcom import XComModel  # noqa: PLC0415  (the home comes first)

    session, dag_run = made_runs.session, made_runs.make("evaluate_endpoint")
    dag_run.note = note
    for ti in dag_run.task_instances:
        ti.state = TaskInstanceState(state)
        if failure and ti.task_id != "choose_endpoints":
            ti.state = TaskInstanceState.UPSTREAM_FAILED
    session.flush()
    keys = [NOTE, *(f"other-{place}" for place in range(len(sentences)))][: len(sentences)]
    handed_on = [*zip(keys, sentences, strict=True), *([(FAILURE, failure)] if failure else [])]
    for key, sentence in handed_on:
        session.add(
            XComModel(
                dag_run_id=dag_run.id,
                task_id="choose_endpoints",
                map_index=-1,
                key=key,
                dag_id=dag_run.dag_id,
                run_id=dag_run.run_id,
                value=sentence,
            )
        )
    session.flush()
    dag_run.update_state(session=session, execute_callbacks=False)
    session.flush()
    session.expire(dag_run)
    return dag_run


def test_the_note_is_the_sentence_that_a_task_handed_on(made_runs: MadeRuns) -> None:
    dag_run = ended(made_runs, [SENTENCE, "something else"])

    sentence, link = dag_run.note.split("\n")
    assert (str(dag_run.state), sentence) == ("success", SENTENCE)
    assert link.startswith("[Its jobs and reports](http")
    assert link.endswith(f"/runs/evaluate_endpoint/{dag_run.run_id})")


def test_the_note_of_a_failed_run_begins_with_the_task_that_failed_and_why(made_runs: MadeRuns) -> None:
    why = "The endpoint digits does not answer: start it with deploy_endpoint."
    dag_run = ended(made_runs, [SENTENCE], state="failed", failure=why, note="by hand")

    assert dag_run.note.startswith(f"Failed: choose_endpoints: {why}\n{SENTENCE}\nby hand\n[Its jobs")
    assert "upstream" not in dag_run.note


def test_a_cleared_run_that_ends_well_forgets_the_failure(made_runs: MadeRuns) -> None:
    assert ended(made_runs, [], note="Failed: measure_endpoint: no answer\nmine").note == "mine"


def test_a_failed_task_without_a_message_is_named_all_the_same(made_runs: MadeRuns) -> None:
    note = ended(made_runs, [], state="failed").note
    assert note.splitlines()[0] in ("Failed: choose_endpoints", "Failed: measure_endpoint")


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ValueError("There are problems:\n  epochs = 0: at least 1"), "There are problems: epochs = 0: at least 1"),
        (RuntimeError("x" * 400), f"{'x' * 297}..."),
        (None, None),
    ],
)
def test_a_failed_task_hands_on_its_message_in_one_line(error: Exception | None, kept: str | None) -> None:
    handed_on: dict[str, str] = {}
    context: Any = airflow_context(handed_on=handed_on)
    keep_failure({**context, "exception": error})

    assert handed_on.get(FAILURE) == kept


def _callbacks(task: Any) -> list[Any]:
    """What is called if a task fails; a mapped task has no list of it."""
    called = task.on_failure_callback or []
    return called if isinstance(called, list) else [called]


def test_every_task_hands_on_why_it_failed(dag_bag: DagBag) -> None:
    without = {
        task.task_id for dag in dag_bag.dags.values() for task in dag.tasks if keep_failure not in _callbacks(task)
    }
    assert without == set()


def test_a_run_whose_tasks_had_nothing_to_say_has_no_note(made_runs: MadeRuns) -> None:
    assert ended(made_runs, []).note is None


def test_the_note_that_a_run_was_started_with_stays_below(made_runs: MadeRuns) -> None:
    assert ended(made_runs, [SENTENCE], note="30 new images").note.startswith(f"{SENTENCE}\n30 new images\n[")
    again = f"{SENTENCE}\nmine"
    cleared = ended(made_runs, [SENTENCE], note=f"{again}\n[Its jobs and reports](of the earlier end)").note
    assert cleared.startswith(f"{again}\n["), "a run that was cleared and ended again"
    assert cleared.count("Its jobs") == 1


def test_a_long_sentence_is_cut_to_what_airflow_keeps(made_runs: MadeRuns) -> None:
    note = ended(made_runs, ["x" * 2000]).note

    assert len(note) == run_notes.LONGEST
    assert note.endswith(")"), "the link is whole"


def test_the_plugin_and_the_tasks_mean_the_same_xcom() -> None:
    assert (run_notes.NOTE, run_notes.FAILURE) == (NOTE, FAILURE)

"""A run in which a task fails is a failed run, whichever task of whichever DAG it is.

Airflow itself decides here, on its own database, which tasks follow and how the run ends. Only the outcomes of the
tasks are set, as their bodies would take hours for the failures of all tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.bases.skipmixin import XCOM_SKIPMIXIN_KEY, XCOM_SKIPMIXIN_SKIPPED
from airflow.utils.state import DagRunState, TaskInstanceState

from tests.integration.dags.test_dags import DAG_IDS
from tests.support.made_runs import MadeRuns

if TYPE_CHECKING:
    pass

SKIP_THEMSELVES = frozenset(
    {
        "dataset.unpack",
        "training.tune",
        "training.train_tuned",
        "training.train_incremental",
        "evaluation.transform_test_images",
        "evaluation.transform_by_champion",
        "deployment.deploy",
        "deployment.tear_down",
    }
)
"""Tasks that the run conf or a missing approval leaves nothing to do."""

LEFT_OUT = {
    "check_conf": {"training.find_start"},
    "training.plan_trials": {"training.tune", "training.train_tuned"},
    "training.select_best": {"training.train_incremental"},
    "evaluation.find_champion": {"evaluation.transform_by_champion"},
    "registration.approve_model": {"deployment.deploy", "deployment.tear_down"},
    "choose_model": {"deployment.tear_down"},
}
"""What tasks may leave out of a run that has nothing for it to do."""

USE_IT = {"training.tune": {"training.train_tuned"}, "deployment.deploy": {"deployment.predict"}}
"""Tasks that have nothing to do without what another one makes."""

ONE_OF_SEVERAL = frozenset({"training.train", "training.tune", "training.train_tuned"})
"""Tasks whose failure a run survives if `select_best` finds a usable model of another one."""

COPIES = 3
FAILED, SKIPPED, SUCCESS = TaskInstanceState.FAILED, TaskInstanceState.SKIPPED, TaskInstanceState.SUCCESS


@dataclass(frozen=True)
class Scheduled:
    """Runs that Airflow schedules, and whose tasks end as a test wants."""

    made: MadeRuns

    @property
    def dags(self) -> Mapping[str, Any]:
        """The DAGs that may run."""
        return self.made.dags

    @property
    def session(self) -> Any:
        """The session in which they run."""
        return self.made.session

    def run(
        self,
        dag_id: str,
        outcomes: dict[str, TaskInstanceState],
        first: str = "",
        left_out: Mapping[str, set[str]] = MappingProxyType({}),
    ) -> tuple[str, dict[str, set[str]]]:
        """The state of a run, and the states of each task's copies; a task without an outcome succeeds.

        Of a mapped task that is to fail, one copy fails. What does not depend on the task `first` has ended before it.
        A task that succeeds leaves out the tasks that `left_out` has for it; tasks for which no worker is to start are
        `left out` in the states.
        """
        dag, dag_run = self.dags[dag_id], self.made.make(dag_id)
        if first:
            later = {first, *dag.get_task(first).get_flat_relative_ids(upstream=False)}
            self._end((ti for ti in dag_run.task_instances if ti.task_id not in later), outcomes)
        started = set()
        while dag_run.state == DagRunState.RUNNING:
            ready, _ = dag_run.update_state(session=self.session, execute_callbacks=False)
            started |= {ti.task_id for ti in ready}
            self._end(ready, outcomes, left_out)
        states: dict[str, set[str]] = {}
        for ti in dag_run.get_task_instances(session=self.session):
            idle = ti.state == SKIPPED and ti.task_id not in started
            states.setdefault(ti.task_id, set()).add("left out" if idle else str(ti.state))
        state = str(dag_run.state)
        self.session.flush()
        self.session.expunge_all()
        return state, states

    def _end(
        self,
        instances: Iterable[Any],
        outcomes: dict[str, TaskInstanceState],
        left_out: Mapping[str, set[str]] = MappingProxyType({}),
    ) -> None:
        """End tasks, and note how many copies there are of those that are mapped over what they return."""
        from airflow.models.taskmap import TaskMap  # noqa: PLC0415  (the home comes first)
        from airflow.models.xcom import XComModel  # noqa: PLC0415

        for ti in instances:
            task = self.dags[ti.dag_id].get_task(ti.task_id)
            ti.state = outcomes.get(ti.task_id, SUCCESS)
            if ti.state == FAILED and ti.map_index > 0:
                ti.state = SUCCESS
            if ti.state == SUCCESS and not task.is_mapped and any(task.iter_mapped_dependants()):
                self.session.add(TaskMap(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, COPIES, None))
            if ti.state == SUCCESS and ti.task_id in left_out:
                task_ids = {XCOM_SKIPMIXIN_SKIPPED: sorted(left_out[ti.task_id])}
                XComModel.set(
                    XCOM_SKIPMIXIN_KEY,
                    task_ids,
                    dag_id=ti.dag_id,
                    task_id=ti.task_id,
                    run_id=ti.run_id,
                    session=self.session,
                )
        self.session.flush()


@pytest.fixture
def scheduled(made_runs: MadeRuns) -> Scheduled:
    return Scheduled(made_runs)


def skipping(dag: Any, failing: str) -> dict[str, TaskInstanceState]:
    """The outcomes of a run whose tasks skip themselves if they can, those too that run after failures."""
    after_failures = {task.task_id for task in dag.tasks if "all_done" in str(task.trigger_rule)}
    return dict.fromkeys((SKIP_THEMSELVES | after_failures) - {failing}, SKIPPED)


def without(failing: str) -> dict[str, set[str]]:
    """What is left out of a run in which this task is to fail."""
    return {task: others - {failing} for task, others in LEFT_OUT.items()}


def stories(dag: Any, failing: str) -> list[tuple[dict[str, TaskInstanceState], dict[str, set[str]]]]:
    """Runs in which this task fails: the others succeed, skip themselves, or leave out others.

    Where nothing skips itself, or nothing that follows leaves out another task, the run is the first one again.
    """
    skipped = {task: state for task, state in skipping(dag, failing).items() if task in dag.task_ids}
    following = dag.get_task(failing).get_flat_relative_ids(upstream=False)
    left_out = {task: others for task, others in without(failing).items() if task in following}
    return [({}, {}), *([(skipped, {})] if skipped else []), *([({}, left_out)] if left_out else [])]


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_a_run_has_failed_if_any_of_its_tasks_has(scheduled: Scheduled, dag_id: str) -> None:
    dag = scheduled.dags[dag_id]
    looks_well = {}
    for task in dag.task_ids:
        without_a_model = {"training.select_best": FAILED} if task in ONE_OF_SEVERAL else {}
        for others, left_out in stories(dag, task):
            outcomes = {**others, **without_a_model, task: FAILED}
            state, tasks = scheduled.run(dag_id, outcomes, first=task, left_out=left_out)
            if "failed" in tasks[task] and state != "failed":
                looks_well[task] = tasks
    assert looks_well == {}


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_a_run_has_succeeded_if_its_tasks_have_succeeded_or_had_nothing_to_do(
    scheduled: Scheduled, dag_id: str
) -> None:
    assert scheduled.run(dag_id, {})[0] == "success"
    assert scheduled.run(dag_id, dict.fromkeys(SKIP_THEMSELVES, SKIPPED))[0] == "success"


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_what_a_task_leaves_out_starts_no_worker_and_fails_nothing(scheduled: Scheduled, dag_id: str) -> None:
    state, tasks = scheduled.run(dag_id, {}, left_out=LEFT_OUT)
    deciding = LEFT_OUT.keys() & tasks.keys()
    idle = {task for decider in deciding for task in LEFT_OUT[decider]} & tasks.keys()

    assert state == "success"
    assert {task: tasks[task] for task in idle} == {task: {"left out"} for task in idle}
    without_a_model_to_ask = {"deployment.predict"} if "deployment.deploy" in idle else set()
    assert {task for task, states in tasks.items() if "left out" in states} - without_a_model_to_ask == idle


@pytest.mark.parametrize(
    ("decider", "task"), [(decider, task) for decider, tasks in LEFT_OUT.items() for task in sorted(tasks)]
)
def test_what_is_left_out_takes_only_those_with_it_that_use_what_it_makes(
    scheduled: Scheduled, decider: str, task: str
) -> None:
    dag_id = "deploy_endpoint" if decider == "choose_model" else "image_classification"
    state, tasks = scheduled.run(dag_id, {}, left_out={decider: {task}})

    assert (state, tasks["summarise"]) == ("success", {"success"})
    left_out = {name for name, states in tasks.items() if "left out" in states}
    assert left_out == {task} | USE_IT.get(task, set())


@pytest.mark.parametrize("task", sorted(ONE_OF_SEVERAL))
def test_a_run_goes_on_with_the_models_that_are_left(scheduled: Scheduled, task: str) -> None:
    state, tasks = scheduled.run("image_classification", {task: FAILED})

    assert (state, tasks["training.select_best"], tasks["summarise"]) == ("success", {"success"}, {"success"})

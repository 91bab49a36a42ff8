"""Buttons: each starts its DAG, as the person who used it, with a conf that the server writes."""

from __future__ import annotations

from typing import Any

import pytest

from include.settings import Settings
from tests.integration.plugins.ui.conftest import SignIn
from tests.integration.plugins.ui.test_access import HEADERS, asked
from tests.support.local_aws import RunningLocalAws
from tests.support.running_task import SETTINGS
from tests.support.served_models import registered


def run_of(dag_id: str, run_id: str) -> Any:
    from airflow.models.dagrun import DagRun  # noqa: PLC0415  (the home comes first)
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415

    with create_session() as session:
        found = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        session.expunge_all()
        return found


def is_paused(dag_id: str) -> bool:
    from image_classification.ui.airflow_runs import paused_dags  # noqa: PLC0415

    return dag_id in paused_dags()


def test_a_decision_starts_the_review_as_the_person_who_took_it(sign_in: SignIn) -> None:
    answer = sign_in("USER").post("/dags/review_model/runs", json=asked(), headers=HEADERS).json()

    run = run_of("review_model", answer["run_id"])
    assert run.conf == {
        "dataset.name": "pets",
        "model_version": 3,
        "decision": "approve",
        "reason": "Better on new photographs.",
    }
    assert (run.triggering_user_name, str(run.state)) == ("user", "queued")
    assert answer["path"] == f"/dags/review_model/runs/{answer['run_id'].replace(':', '%3A').replace('+', '%2B')}"
    assert "switched off" in answer["note"]


def test_a_dag_that_is_switched_off_is_switched_on_if_asked(sign_in: SignIn) -> None:
    assert is_paused("deploy_endpoint")

    body = asked(action="deploy", switch_on="on")
    answer = sign_in("USER").post("/dags/deploy_endpoint/runs", json=body, headers=HEADERS).json()

    assert answer["note"] == ""
    assert not is_paused("deploy_endpoint")
    assert run_of("deploy_endpoint", answer["run_id"]).conf == {"dataset.name": "pets", "model_version": 3}


def test_a_retraining_takes_the_run_conf_that_the_version_was_trained_with(
    sign_in: SignIn, aws: RunningLocalAws, pets: str
) -> None:
    registered(aws, Settings.from_variable(SETTINGS), pets)

    body = asked(action="retrain", dataset=pets, version=1)
    answer = sign_in("USER").post("/dags/train_model/runs", json=body, headers=HEADERS).json()

    conf = run_of("train_model", answer["run_id"]).conf
    assert conf["dataset"] == {"name": pets}
    assert conf["training"]["mode"] == "none"
    assert conf["incremental"] == {"enabled": True, "from": "1"}


@pytest.mark.parametrize(
    ("dag", "body", "status", "says"),
    [
        ("review_model", asked(reason=" "), 422, "Give a reason"),
        ("review_model", asked(action="deploy"), 404, "starts deploy_endpoint"),
        ("review_model", asked(dataset="pets/../x"), 422, "dataset"),
        ("review_model", asked(conf={"decision": "reject"}), 422, "conf"),
        ("clean_up", asked(), 404, "starts review_model"),
    ],
)
def test_nothing_is_started_that_no_button_stands_for(
    dag: str, body: dict[str, Any], status: int, says: str, sign_in: SignIn
) -> None:
    answer = sign_in("ADMIN").post(f"/dags/{dag}/runs", json=body, headers=HEADERS)

    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text

"""The buttons: each starts one DAG as the signed-in user, with a conf that the server writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.dagbag import DagBagDep
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody
from airflow.api_fastapi.core_api.routes.public.dag_run import trigger_dag_run
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.api_fastapi.logging.decorators import action_logging
from airflow.models.dag import DagModel
from fastapi import APIRouter, Body, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.status import HTTP_403_FORBIDDEN, HTTP_404_NOT_FOUND

from image_classification.ui.access import FROM_THESE_PAGES, is_allowed, may_start
from image_classification.ui.installation import Installation
from include.deployment.registry import numbered
from include.promotion.champion import kept_run_conf
from include.run_conf import RunConf
from include.run_conf.fields import NAME_PATTERN

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser

    from image_classification.ui.installation import Connected
    from include.deployment.registry import RegisteredModel

router = APIRouter()

Name = Literal["approve", "reject", "deploy", "roll_back", "retrain"]


class Asked(BaseModel):
    """What a button sends; `switch_on` is sent by a box that was ticked."""

    model_config = ConfigDict(extra="forbid")

    action: Name
    dataset: str = Field(pattern=NAME_PATTERN, max_length=63)
    version: int = Field(ge=1)
    reason: str = Field("", max_length=500)
    switch_on: Literal["", "on"] = ""

    @property
    def model(self) -> dict[str, Any]:
        """The fields of a conf that name the version."""
        return {"dataset.name": self.dataset, "model_version": self.version}


@dataclass(frozen=True)
class Action:
    """A button: what it is called, the DAG that it starts, with which conf, and what a person should know before."""

    label: str
    dag_id: str
    conf: Callable[[Asked, RunConf], dict[str, Any]]
    effect: str
    asks_reason: bool = False
    kind: str = ""


KEPT_SECTIONS = {"training", "resources", "incremental", "evaluation", "promotion"}
"""What another training of a model takes from the run conf that it was trained with."""


def retraining_conf(asked: Asked, kept: RunConf) -> dict[str, Any]:
    """The conf of one incremental training from a version, as the run that trained it was asked."""
    document: dict[str, Any] = kept.model_dump(mode="json", exclude_defaults=True, include=KEPT_SECTIONS)
    document.get("promotion", {}).pop("allow_label_change", None)
    document["training"] = {**document.get("training", {}), "mode": "none", "trials": [], "continue_with": "best"}
    document["incremental"] = {**document.get("incremental", {}), "enabled": True, "from": str(asked.version)}
    return {"dataset": {"name": asked.dataset}, **document}


ACTIONS: Mapping[Name, Action] = {
    "approve": Action(
        "Approve",
        "review_model",
        lambda asked, _: {**asked.model, "decision": "approve", "reason": asked.reason},
        "The version may be deployed then. No endpoint changes by this.",
        asks_reason=True,
        kind="main",
    ),
    "reject": Action(
        "Reject",
        "review_model",
        lambda asked, _: {**asked.model, "decision": "reject", "reason": asked.reason},
        "The version cannot be deployed then. An endpoint that serves it already keeps serving it.",
        asks_reason=True,
        kind="bad",
    ),
    "deploy": Action(
        "Deploy",
        "deploy_endpoint",
        lambda asked, _: asked.model,
        "The dataset's endpoint changes to this version, and keeps its machines. It serves the earlier one until then, "
        "and again if the new one fails its test.",
        kind="main",
    ),
    "roll_back": Action(
        "Roll back to it",
        "deploy_endpoint",
        lambda asked, _: asked.model,
        "The dataset's endpoint changes back to this earlier version, and keeps its machines.",
        kind="main",
    ),
    "retrain": Action(
        "Retrain from it",
        "train_model",
        retraining_conf,
        "One incremental training job starts from this version, on the newest version of the dataset. It costs money; "
        "its model is measured and registered, and not deployed.",
    ),
}


@dataclass(frozen=True)
class Button:
    """An action that fits a version. `refusal` is why this person may not use it; `is_paused`: its DAG is off."""

    name: Name
    action: Action
    conf: dict[str, Any]
    refusal: str
    is_paused: bool
    may_switch_on: bool


def buttons_of(
    model: RegisteredModel, kept: RunConf, *, serving: int | None, user: BaseUser, paused: frozenset[str]
) -> list[Button]:
    """The buttons of a version's page.

    `kept` is the run conf of its training, `serving` the number of the version that serves, if one does.
    """
    fitting: list[Name] = []
    if model.approval != "Approved":
        fitting.append("approve")
    if model.approval != "Rejected":
        fitting.append("reject")
    if model.approved and model.version != serving:
        fitting.insert(0, "roll_back" if serving is not None and model.version < serving else "deploy")
    fitting.append("retrain")
    return [_button(name, model, kept, user, paused) for name in fitting]


def _button(name: Name, model: RegisteredModel, kept: RunConf, user: BaseUser, paused: frozenset[str]) -> Button:
    action = ACTIONS[name]
    asked = Asked(action=name, dataset=model.dataset, version=model.version)
    conf = {field: value for field, value in action.conf(asked, kept).items() if field != "reason"}
    allowed = may_start(user, action.dag_id)
    refusal = "" if allowed else f"You may not start runs of {action.dag_id}."
    is_paused = action.dag_id in paused
    return Button(name, action, conf, refusal, is_paused, is_paused and is_allowed(user, "PUT", action.dag_id))


def _kept_conf(connected: Connected, asked: Asked) -> RunConf:
    model = numbered(
        connected.client("sagemaker"), settings=connected.settings, dataset=asked.dataset, version=asked.version
    )
    return kept_run_conf(connected.client("s3"), model) or RunConf()


@router.post(
    "/dags/{dag_id}/runs",
    dependencies=[
        FROM_THESE_PAGES,
        Depends(requires_access_dag("POST", DagAccessEntity.RUN)),
        Depends(action_logging("trigger_dag_run")),
    ],
)
def start(  # noqa: PLR0917  (FastAPI gives them by name)
    dag_id: str,
    asked: Annotated[Asked, Body()],
    request: Request,
    dag_bag: DagBagDep,
    user: GetUserDep,
    session: SessionDep,
) -> dict[str, str]:
    """Start what a button stands for, as the person who used it."""
    action = ACTIONS[asked.action]
    if action.dag_id != dag_id:
        raise HTTPException(HTTP_404_NOT_FOUND, f"{asked.action} starts {action.dag_id}, not {dag_id}.")
    if action.asks_reason and not asked.reason.strip():
        raise HTTPException(422, "Give a reason: it is kept with the version.")
    installation = Installation.of(request)
    kept = _kept_conf(installation.connected(), asked) if asked.action == "retrain" else RunConf()
    answer = start_run(request, dag_bag, user, session, dag_id, action.conf(asked, kept), switch_on=asked.switch_on)
    installation.has_changed(asked.dataset)
    return answer


def start_run(  # noqa: PLR0917  (what Airflow's own route is given)
    request: Request,
    dag_bag: Any,
    user: BaseUser,
    session: Any,
    dag_id: str,
    conf: dict[str, Any],
    *,
    run_id: str | None = None,
    switch_on: str = "",
) -> dict[str, str]:
    """Start a run as a person, by Airflow's own route, and switch its DAG on if asked: what the page's script shows."""
    if switch_on and not is_allowed(user, "PUT", dag_id):
        raise HTTPException(HTTP_403_FORBIDDEN, f"You may not switch {dag_id} on.")
    body = TriggerDAGRunPostBody(dag_run_id=run_id, logical_date=None, conf=conf)
    run: Any = trigger_dag_run(dag_id, body, dag_bag, user, session, request)
    dag = session.get(DagModel, dag_id)
    if dag is not None and switch_on:
        dag.is_paused = False
    waits = dag is not None and dag.is_paused
    return {
        "dag_id": dag_id,
        "run_id": run.run_id,
        "path": f"/dags/{dag_id}/runs/{quote(run.run_id, safe='')}",
        "note": f"{dag_id} is switched off in Airflow: the run waits until somebody switches it on." if waits else "",
    }

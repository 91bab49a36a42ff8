"""The page "New run": the run conf as a form, a dry run that shows plan, cost and all problems, and the start."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Literal

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.dagbag import DagBagDep
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.api_fastapi.logging.decorators import action_logging
from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from image_classification.context import AwsAccess, read_settings
from image_classification.ui import airflow_runs
from image_classification.ui.access import CHAIN, FROM_THESE_PAGES, is_allowed, may_start
from image_classification.ui.actions import start_run
from image_classification.ui.installation import Installation
from image_classification.ui.rendering import HEADERS, environment, page
from include.preflight.checking import examine_run
from include.preflight.plan import planned_stages
from include.problems import shown
from include.run_conf import PRESETS, RunConf
from include.run_conf.fields import form_order

if TYPE_CHECKING:
    from include.preflight import Findings
    from include.problems import Problem
    from include.run_conf.fields import ConfField

log = logging.getLogger(__name__)
router = APIRouter()

Texts = dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=200_000)]]
MAY_START = Depends(requires_access_dag("POST", DagAccessEntity.RUN, CHAIN))


class Entered(BaseModel):
    """The fields as they were filled in, by dotted name. `ask_aws`: whether buckets, role and prices are asked too."""

    model_config = ConfigDict(extra="forbid")

    fields: Texts = Field({}, max_length=500)
    ask_aws: bool = False

    @property
    def given(self) -> dict[str, str]:
        """The fields that hold something."""
        return {name: text for name, text in self.fields.items() if text.strip()}


class Started(Entered):
    """The same, to be started; `switch_on` is sent by a box that was ticked."""

    switch_on: Literal["", "on"] = ""


@cache
def folds() -> tuple[tuple[str, tuple[ConfField, ...]], ...]:
    """The fields of the run conf by the heading under which they are shown, those that most runs set first."""
    return tuple((title, tuple(fields)) for title, fields in groupby(form_order(RunConf), lambda field: field.fold))


@router.get("/new-run", response_class=HTMLResponse)
def show(request: Request, user: GetUserDep) -> HTMLResponse:
    """The page; the query of its address fills in fields."""
    is_paused = CHAIN in airflow_runs.paused_dags()
    return page(
        request,
        "new_run.html",
        title="New run",
        tab="new-run",
        folds=folds(),
        entered=dict(request.query_params),
        presets=PRESETS,
        may_start=may_start(user, CHAIN),
        is_paused=is_paused,
        may_switch_on=is_paused and is_allowed(user, "PUT", CHAIN),
        dag_id=CHAIN,
    )


@router.post("/new-run/check", dependencies=[FROM_THESE_PAGES, MAY_START])
def check(entered: Annotated[Entered, Body()]) -> Response:
    """What is wrong with the fields and what the preset sets; with `ask_aws` the plan and all problems of the run."""
    conf, problems = RunConf.read(entered.given)
    answer = {"preset": {field: shown(value) for field, value in RunConf.by_preset(entered.given).items()}}
    if not entered.ask_aws:
        return _answer({**answer, "problems": _described(problems)})
    settings, settings_problems = read_settings()
    reachable = settings.has("region") and settings.has("aws_conn_id")
    clients = AwsAccess.of(settings).quick_clients() if reachable else None
    found = examine_run(conf, settings, clients=clients, known=[*problems, *settings_problems])
    return _answer({**answer, "problems": _described(found.problems), "plan": _plan(conf, found, answer["preset"])})


@router.post("/new-run/runs", dependencies=[FROM_THESE_PAGES, MAY_START, Depends(action_logging("trigger_dag_run"))])
def start(
    entered: Annotated[Started, Body()],
    request: Request,
    dag_bag: DagBagDep,
    user: GetUserDep,
    session: SessionDep,
) -> Response:
    """Start the run as the person who used the button; what is empty is not sent."""
    conf, problems = RunConf.read(entered.given)
    if problems:
        detail = f"Nothing was started: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}."
        return _answer({"detail": detail, "problems": _described(problems)}, 422)
    started = start_run(request, dag_bag, user, session, CHAIN, entered.given, switch_on=entered.switch_on)
    Installation.of(request).has_changed(conf.dataset.name)
    return _answer(started)


def _plan(conf: RunConf, found: Findings, preset: Mapping[str, str]) -> str:
    known = [each.usd for each in found.charged if each.usd is not None]
    return (
        environment()
        .get_template("plan.html")
        .render(
            stages=planned_stages(conf),
            charged=found.charged,
            total=sum(known) if known else None,
            some_unknown=any(each.usd_per_hour is None for each in found.charged),
            notes=found.notes,
            preset=preset,
            problems=len(found.problems),
        )
    )


def _described(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [
        {
            "field": shown(problem.field),
            "at": _place(problem.field),
            "value": "" if problem.value is None else shown(problem.value),
            "remedy": problem.remedy,
        }
        for problem in problems
    ]


def _place(name: str) -> str:
    """The field of the form at which a problem is shown; empty if there is none, as for a setting."""
    names = [field.name for _, fields in folds() for field in fields]
    inside = [known for known in names if name == known or name.startswith(f"{known}.")]
    below = [known for known in names if known.startswith(f"{name}.")]
    return next(iter([*inside, *below]), "")


def _answer(content: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, headers=HEADERS)

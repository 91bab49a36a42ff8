"""The page of a question: the answers of several versions to the same images, and the button that asks another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.dagbag import DagBagDep
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.api_fastapi.logging.decorators import action_logging
from fastapi import APIRouter, Body, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.status import HTTP_404_NOT_FOUND

from image_classification.ui import airflow_runs
from image_classification.ui.access import FROM_THESE_PAGES, is_allowed, may_start, readable_dags
from image_classification.ui.actions import start_run
from image_classification.ui.installation import Installation
from image_classification.ui.model_facts import versions_of
from image_classification.ui.overview import visible_runs
from image_classification.ui.rendering import page
from include.catalog.asked_images import (
    Asked,
    Heard,
    NoQuestionError,
    Question,
    asking_run,
    read_image,
    read_question,
)
from include.run_conf import RunConf
from include.sagemaker.containers import transform_instance_type

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser

    from image_classification.ui.airflow_runs import KnownRun
    from image_classification.ui.installation import Connected
    from include.catalog import Seen

router = APIRouter()

PREDICTING = "predict_images"
"""Who may start this DAG may ask an endpoint: both cost money."""
IMAGE_POLICY = "sandbox; default-src 'none'"
SHOWN_AS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"RIFF": "image/webp",
}
"""How the images begin that every browser shows; others are offered as files."""
REFRESH_SECONDS, FIRST_WAIT, READ_SECONDS, PRICE_SECONDS = 3, 1.0, 3.0, 600.0


class AskedVersion(BaseModel):
    """Which version is asked about a question's images; `switch_on` is sent by a box that was ticked."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1)
    switch_on: Literal["", "on"] = ""


@dataclass(frozen=True)
class Column:
    """A version's answers; `heard` is empty as long as its run has none. `run` is None if the endpoint answered."""

    version: int
    heard: Mapping[str, Heard]
    from_endpoint: bool
    run: KnownRun | None = None


def asking(installation: Installation, connected: Connected, user: BaseUser) -> dict[str, Any]:
    """What the dialog that asks another version needs to know."""
    paused = installation.quick.see(("paused",), airflow_runs.paused_dags, seconds=2, wait=FIRST_WAIT).answer
    is_paused = PREDICTING in (paused or ())
    machine = transform_instance_type(RunConf().endpoint.instance_type)
    price = partial(connected.price, machine, "batchtransform")
    cost = installation.slow.see(("price", machine), price, seconds=PRICE_SECONDS, wait=FIRST_WAIT / 2)
    return {
        "predicting": PREDICTING,
        "may_ask": may_start(user, PREDICTING),
        "is_paused": is_paused,
        "may_switch_on": is_paused and is_allowed(user, "PUT", PREDICTING),
        "machine": machine,
        "machine_cost": cost.answer,
    }


@router.get("/datasets/{dataset}/questions/{question}", response_class=HTMLResponse)
def show(request: Request, dataset: str, question: str, user: GetUserDep) -> HTMLResponse:
    """The images of a question with every answer beside each other."""
    installation = Installation.of(request)
    connected = installation.connected()
    asked_of = _question(connected, dataset, question)
    look = partial(_read, connected, asked_of)
    asked = installation.quick.see(("question", dataset, question), look, seconds=READ_SECONDS, wait=FIRST_WAIT)
    if asked.answer is not None and not asked.answer.images:
        raise HTTPException(HTTP_404_NOT_FOUND, f"Nothing is stored of the question {question}.")
    columns = _columns(asked, visible_runs(installation, readable_dags(user)), question)
    _, versions = versions_of(installation, connected, dataset, wait=FIRST_WAIT)
    known = {column.version for column in columns}
    return page(
        request,
        "question.html",
        title=f"{dataset}: versions asked about images",
        tab="endpoint",
        dataset=dataset,
        refresh=REFRESH_SECONDS,
        question=question,
        asked=asked,
        columns=columns,
        differ={name for name in (asked.answer.images if asked.answer else ()) if _differ(columns, name)},
        others=[each.listed.version for each in versions if each.listed.version not in known],
        **asking(installation, connected, user),
    )


@router.get("/datasets/{dataset}/questions/{question}/images/{name}")
def image(request: Request, dataset: str, question: str, name: str) -> Response:
    """An image as the person gave it."""
    installation = Installation.of(request)
    connected = installation.connected()
    try:
        content = read_image(connected.client("s3"), _question(connected, dataset, question), name)
    except NoQuestionError as error:
        raise HTTPException(HTTP_404_NOT_FOUND, str(error)) from error
    kind = next((kind for begins, kind in SHOWN_AS.items() if content.startswith(begins)), "")
    headers = {
        "Content-Security-Policy": IMAGE_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=600",
    }
    if not kind:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return Response(content, media_type=kind or "application/octet-stream", headers=headers)


@router.post(
    "/datasets/{dataset}/questions/{question}/versions",
    dependencies=[
        FROM_THESE_PAGES,
        Depends(requires_access_dag("POST", DagAccessEntity.RUN, PREDICTING)),
        Depends(action_logging("trigger_dag_run")),
    ],
)
def ask_version(  # noqa: PLR0917  (FastAPI gives them by name)
    dataset: str,
    question: str,
    asked: Annotated[AskedVersion, Body()],
    request: Request,
    dag_bag: DagBagDep,
    user: GetUserDep,
    session: SessionDep,
) -> dict[str, str]:
    """Start the run of `predict_images` that asks a version about the question's images."""
    installation = Installation.of(request)
    about = _question(installation.connected(), dataset, question)
    conf = {
        "dataset.name": dataset,
        "model_version": asked.version,
        "source": about.images_uri,
        "output": about.answers_uri(asked.version),
    }
    run_id = about.run_id(asked.version, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}")
    started = start_run(request, dag_bag, user, session, PREDICTING, conf, run_id=run_id, switch_on=asked.switch_on)
    installation.quick.forget(lambda key: "runs" in key or question in key)
    return {**started, "page": f"/datasets/{dataset}/questions/{question}"}


def _question(connected: Connected, dataset: str, question: str) -> Question:
    try:
        return Question(connected.settings.output_bucket, dataset, question)
    except NoQuestionError as error:
        raise HTTPException(HTTP_404_NOT_FOUND, str(error)) from error


def _read(connected: Connected, question: Question) -> Asked:
    """The question; without images if there is none: that it was never asked is an answer too."""
    try:
        return read_question(connected.client("s3"), question)
    except NoQuestionError:
        return Asked({}, ())


def _columns(asked: Seen[Asked], runs: list[KnownRun], question: str) -> list[Column]:
    """The answers of the endpoint first, then those of versions that were asked, with the newest run of each."""
    asks: dict[int, KnownRun] = {}
    for run in runs:
        found = asking_run(run.run_id)
        if found and found[0] == question:
            asks.setdefault(found[1], run)
    answers = asked.answer.answers if asked.answer else ()
    columns = [Column(each.version, each.heard, each.from_endpoint, asks.get(each.version)) for each in answers]
    answered = {each.version for each in answers if not each.from_endpoint}
    columns += [
        Column(number, {}, from_endpoint=False, run=run) for number, run in asks.items() if number not in answered
    ]
    return columns


def _differ(columns: list[Column], name: str) -> bool:
    """Whether the versions that have answered see different classes in an image."""
    heard = [column.heard[name] for column in columns if name in column.heard]
    return len({each.classes[0][0] for each in heard if each.classes}) > 1

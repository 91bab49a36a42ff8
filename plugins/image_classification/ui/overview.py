"""The overview: a card for each dataset, the questions that wait for a person, and what runs and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from image_classification.ui import airflow_runs
from image_classification.ui.access import readable_dags
from image_classification.ui.airflow_runs import DeploymentEvent, KnownRun
from image_classification.ui.installation import Installation
from image_classification.ui.model_facts import facts_of
from image_classification.ui.rendering import page
from include.catalog import Seen
from include.catalog.dataset_versions import images_waiting, known_datasets
from include.catalog.endpoints import DAY, Serving, Span, Traffic, read_serving, read_traffic
from include.catalog.models import ModelFacts
from include.clean_up.running import running_machines
from include.datasets.version import latest

if TYPE_CHECKING:
    from image_classification.ui.installation import Connected
    from include.datasets.version import DatasetVersion

FIRST_WAIT = 0.3
"""Seconds that a page waits for a first answer; what has not come is shown a moment later."""
TRAFFIC_SECONDS, VERSIONS_SECONDS, COUNTING_SECONDS = 60.0, 30.0, 900.0
NOBODY = "nobody: the run started by itself"
REFRESH_SECONDS = 10

router = APIRouter()


@dataclass(frozen=True)
class Card:
    """What is shown of one dataset."""

    name: str
    serving: Seen[Serving]
    facts: Seen[ModelFacts] | None
    traffic: Seen[Traffic] | None
    newest: Seen[DatasetVersion | None]
    waiting: Seen[str] | None
    deployed: DeploymentEvent | None
    promoted_by: str
    retraining: KnownRun | None
    unfinished: Sequence[KnownRun]


@router.get("/", response_class=HTMLResponse)
def show(request: Request, user: GetUserDep) -> HTMLResponse:
    """The page."""
    installation = Installation.of(request)
    content = overview(installation, installation.connected(), readable_dags(user))
    return page(request, "overview.html", title="Overview", tab="overview", refresh=REFRESH_SECONDS, **content)


def overview(installation: Installation, connected: Connected, readable: set[str]) -> dict[str, Any]:
    """What the page shows a person who may read these DAGs."""
    look = installation.quick
    names = look.see(("datasets",), partial(known_datasets, connected.client, connected.settings), wait=FIRST_WAIT)
    runs = visible_runs(installation, readable)
    deployed = look.see(("deployments",), airflow_runs.deployments, wait=FIRST_WAIT).answer or ()
    questions = look.see(("questions",), airflow_runs.waiting_questions, seconds=3, wait=FIRST_WAIT).answer or ()
    running = look.see(
        ("running",),
        lambda: tuple(running_machines(connected.client("sagemaker"), connected.price)),
        wait=FIRST_WAIT,
    )
    costs = [each.usd_per_hour for each in running.answer or ()]
    events = [event for event in deployed if event.dag_id in readable]
    return {
        "names": names,
        "cards": [_card(installation, connected, name, runs, events) for name in names.answer or ()],
        "questions": [question for question in questions if question.dag_id in readable],
        "running": running,
        "running_cost": sum(cost for cost in costs if cost is not None) if costs else None,
        "running_unknown": None in costs,
    }


def visible_runs(installation: Installation, readable: set[str]) -> list[KnownRun]:
    """The latest runs that a person may see."""
    runs = installation.quick.see(("runs",), airflow_runs.known_runs, seconds=3, wait=FIRST_WAIT).answer or ()
    return [run for run in runs if run.dag_id in readable]


def serving_of(installation: Installation, connected: Connected, dataset: str, *, wait: float = 0.0) -> Seen[Serving]:
    """What serves a dataset."""

    def look() -> Serving:
        return read_serving(connected.client("sagemaker"), connected.settings, dataset, connected.price)

    return installation.quick.see(("serving", dataset), look, wait=wait)


def traffic_of(
    installation: Installation, connected: Connected, dataset: str, serving: Serving | None, span: Span = DAY
) -> Seen[Traffic] | None:
    """What the endpoint of a dataset was asked in a span until now; None without an endpoint."""
    endpoint = serving.endpoint if serving else None
    if endpoint is None:
        return None

    def look() -> Traffic:
        return read_traffic(connected.client("cloudwatch"), endpoint, span=span)

    key = ("traffic", dataset, endpoint.name, span.title)
    return installation.quick.see(key, look, seconds=TRAFFIC_SECONDS)


def deployment_of(events: Sequence[DeploymentEvent], serving: Serving | None) -> DeploymentEvent | None:
    """The run that brought the serving version to its endpoint, if Airflow still knows it."""
    live = serving.champion.live if serving and serving.champion else None
    if live is None:
        return None
    at_endpoint = [event for event in events if event.endpoint == live.name]
    return at_endpoint[0] if at_endpoint and at_endpoint[0].arn == live.version.arn else None


def _card(
    installation: Installation,
    connected: Connected,
    name: str,
    runs: Sequence[KnownRun],
    events: Sequence[DeploymentEvent],
) -> Card:
    serving = serving_of(installation, connected, name)
    champion = serving.answer.champion if serving.answer else None
    newest = installation.quick.see(
        ("newest", name),
        lambda: latest(connected.client("s3"), connected.settings.data_bucket, name),
        seconds=VERSIONS_SECONDS,
    )
    deployed = deployment_of(events, serving.answer)
    of_dataset = airflow_runs.of_dataset(runs, name)
    by = next((run for run in of_dataset if deployed and run.run_id == deployed.run_id), None)
    return Card(
        name=name,
        serving=serving,
        facts=facts_of(installation, connected, champion.version.arn) if champion else None,
        traffic=traffic_of(installation, connected, name, serving.answer),
        newest=newest,
        waiting=_waiting(installation, connected, newest.answer) if champion and newest.answer else None,
        deployed=deployed,
        promoted_by=(by.person or NOBODY) if by else "a run that Airflow no longer lists",
        retraining=next((run for run in of_dataset if run.dag_id == airflow_runs.RETRAINING), None),
        unfinished=[run for run in of_dataset if run.is_unfinished],
    )


def _waiting(installation: Installation, connected: Connected, version: DatasetVersion) -> Seen[str]:

    def look() -> str:
        return images_waiting(connected.client("s3"), version)

    return installation.slow.see(("waiting", version.uri), look, seconds=COUNTING_SECONDS)

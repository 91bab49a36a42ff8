"""The pages of a dataset's models: the table, one version with its buttons, several beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from starlette.status import HTTP_404_NOT_FOUND

from image_classification.ui import airflow_runs
from image_classification.ui.access import readable_dags
from image_classification.ui.actions import buttons_of
from image_classification.ui.charts import Line, line_chart
from image_classification.ui.installation import Installation
from image_classification.ui.model_facts import KnownVersion, versions_of
from image_classification.ui.overview import serving_of, visible_runs
from image_classification.ui.rendering import page
from image_classification.ui.sorting import Column, Sorting
from include.catalog import FOREVER, Seen
from include.catalog.models import ModelFacts, different_hyperparameters
from include.promotion.champion import kept_run_conf
from include.run_conf import RunConf

if TYPE_CHECKING:
    from image_classification.ui.installation import Connected
    from include.catalog.models import OnSameImages

router = APIRouter()

FIRST_WAIT = 0.5
REFRESH_SECONDS = 5
MOST_COMPARED = 6
"""Models beside each other: as many as there are colours."""


def _of_facts(value: Callable[[ModelFacts], Any]) -> Callable[[KnownVersion], Any]:
    return lambda version: value(version.facts.answer) if version.facts.answer else None


COLUMNS: tuple[Column[KnownVersion], ...] = (
    Column("version", "Version", lambda version: version.listed.version),
    Column("approval", "Status", lambda version: version.listed.approval),
    Column("accuracy", "Accuracy", _of_facts(lambda facts: facts.model.accuracy), is_number=True),
    Column(
        "champion",
        "Against champion",
        _of_facts(lambda facts: facts.beside_champion.difference if facts.beside_champion else None),
        is_number=True,
    ),
    Column("algorithm", "Algorithm", _of_facts(lambda facts: facts.algorithm)),
    Column("classes", "Classes", _of_facts(lambda facts: facts.model.classes), is_number=True),
    Column("dataset", "Dataset version", _of_facts(lambda facts: facts.model.dataset_version)),
    Column("cost", "Training cost", _of_facts(lambda facts: facts.cost), is_number=True),
    Column("created", "Registered", lambda version: version.listed.created),
)


@router.get("/datasets/{dataset}/models", response_class=HTMLResponse)
def table(request: Request, dataset: str, sort: str = "version", up: bool = False) -> HTMLResponse:
    """All versions; `sort` names a column, the largest values come first unless `up` is given."""
    installation = Installation.of(request)
    connected = installation.connected()
    listed, versions = versions_of(installation, connected, dataset, wait=FIRST_WAIT)
    serving = serving_of(installation, connected, dataset, wait=FIRST_WAIT)
    sorting = Sorting.of(COLUMNS, sort, up=up)
    unread = sum(version.facts.is_awaited for version in versions)
    return page(
        request,
        "models.html",
        title=f"Models of {dataset}",
        tab="models",
        dataset=dataset,
        refresh=REFRESH_SECONDS,
        headings=sorting.headings(),
        listed=listed,
        versions=sorting.rows(versions),
        serving=serving,
        serving_number=_serving_number(serving),
        unread=unread,
    )


@router.get("/datasets/{dataset}/models/compare", response_class=HTMLResponse)
def compare(request: Request, dataset: str, version: Annotated[list[int], Query()]) -> HTMLResponse:
    """Several versions beside each other; the first is the one that the others are compared with."""
    installation = Installation.of(request)
    connected = installation.connected()
    listed, versions = versions_of(installation, connected, dataset, wait=FIRST_WAIT)
    numbers = sorted(set(version))[:MOST_COMPARED]
    chosen = [each for each in versions if each.listed.version in numbers]
    chosen.sort(key=lambda each: each.listed.version)
    if listed.answer is not None and len(chosen) < len(numbers):
        raise HTTPException(HTTP_404_NOT_FOUND, f"{dataset} has no versions {numbers}: one of them was deleted.")
    facts = [each.facts.answer for each in chosen if each.facts.answer]
    complete = len(facts) == len(numbers) > 1
    return page(
        request,
        "compare.html",
        title=f"{dataset}: versions {', '.join(map(str, numbers))}",
        tab="models",
        dataset=dataset,
        refresh=REFRESH_SECONDS,
        numbers=numbers,
        listed=listed,
        versions=chosen,
        facts=facts,
        complete=complete,
        differing=different_hyperparameters(facts) if complete else [],
        same=_on_same_images(installation, connected, dataset, facts) if complete else None,
        curves=line_chart("Validation accuracy by epoch", [_curve(each) for each in facts]),
        serving_number=_serving_number(serving_of(installation, connected, dataset)),
    )


@router.get("/datasets/{dataset}/models/{number}", response_class=HTMLResponse)
def one(request: Request, dataset: str, number: int, user: GetUserDep) -> HTMLResponse:
    """A version: its figures, how it was trained, why it is approved or not, and what can be done with it."""
    installation = Installation.of(request)
    connected = installation.connected()
    listed, versions = versions_of(installation, connected, dataset, wait=FIRST_WAIT)
    version = next((each for each in versions if each.listed.version == number), None)
    if version is None and listed.answer is not None:
        raise HTTPException(HTTP_404_NOT_FOUND, f"{dataset} has no version {number}.")
    facts = version.facts.answer if version else None
    serving = serving_of(installation, connected, dataset, wait=FIRST_WAIT)
    runs = visible_runs(installation, readable_dags(user))
    buttons = []
    if facts:
        kept = _kept_conf(installation, connected, facts)
        paused = installation.quick.see(("paused",), airflow_runs.paused_dags, seconds=2, wait=FIRST_WAIT).answer
        buttons = buttons_of(
            facts.model, kept, serving=_serving_number(serving), user=user, paused=paused or frozenset()
        )
    return page(
        request,
        "model.html",
        title=f"{dataset}: version {number}",
        tab="models",
        dataset=dataset,
        refresh=REFRESH_SECONDS,
        number=number,
        listed=listed,
        version=version,
        facts=facts,
        serving=serving,
        serving_number=_serving_number(serving),
        buttons=buttons,
        earlier=[each.listed.version for each in versions if _is_way_back(each, number)][:MOST_COMPARED],
        curves=line_chart("Validation accuracy by epoch", [_curve(facts)] if facts else []),
        run=next((run for run in runs if facts and (run.dag_id, run.run_id) == (facts.dag, facts.run)), None),
        later=[run for run in airflow_runs.of_dataset(runs, dataset) if run.is_unfinished],
    )


def _is_way_back(version: KnownVersion, serving: int) -> bool:
    """Whether an endpoint that serves a version may be rolled back to this one."""
    return version.listed.approval == "Approved" and version.listed.version < serving


def _serving_number(serving: Seen[Any]) -> int | None:
    """The number of the version that an endpoint answers with."""
    found = serving.answer
    return found.champion.version.version if found and found.serves else None


def _curve(facts: ModelFacts) -> Line:
    """The accuracy of the model's own job by epoch: the last curve of its report."""
    curves = list(facts.measured.epochs.values()) if facts.measured else []
    points = [(point.epoch + 1, point.validation_accuracy) for point in (curves[-1] if curves else ())]
    return Line(f"version {facts.number}", [(x, y) for x, y in points if y is not None])


def _kept_conf(installation: Installation, connected: Connected, facts: ModelFacts) -> RunConf:

    def look() -> RunConf | None:
        return kept_run_conf(connected.client("s3"), facts.model)

    return installation.slow.see(("kept", facts.model.arn), look, seconds=FOREVER, wait=FIRST_WAIT).answer or RunConf()


def _on_same_images(
    installation: Installation, connected: Connected, dataset: str, facts: Sequence[ModelFacts]
) -> Seen[OnSameImages]:
    def look() -> OnSameImages:
        from include.catalog.models import on_same_images

        models = [each.model for each in facts]
        return on_same_images(connected.client("s3"), connected.settings, models)

    key = ("same", dataset, *(each.model.arn for each in facts))
    return installation.slow.see(key, look, seconds=FOREVER, wait=FIRST_WAIT)

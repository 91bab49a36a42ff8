"""The page of a dataset's endpoint: its state, its last day, and what it says of images that a person drops there."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Any
from urllib.parse import unquote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from image_classification.ui.access import FROM_THESE_PAGES, may_start
from image_classification.ui.charts import Line, line_chart
from image_classification.ui.installation import Installation
from image_classification.ui.overview import serving_of, traffic_of
from image_classification.ui.rendering import page
from include.catalog.endpoints import Traffic

router = APIRouter()

PREDICTING = "predict_images"
"""Who may start this DAG may ask an endpoint: both are paid for."""
LARGEST_IMAGE = 20_000_000
"""Bytes of a dropped image."""
MOST_PIXELS = 50_000_000
"""Pixels of a dropped image: it is decoded in the API server."""
MOST_NAMES = 5
REFRESH_SECONDS, FIRST_WAIT = 15, 0.5
_ONE_AT_A_TIME = BoundedSemaphore(1)


@router.get("/datasets/{dataset}/endpoint", response_class=HTMLResponse)
def show(request: Request, dataset: str, user: GetUserDep) -> HTMLResponse:
    """The page."""
    installation = Installation.of(request)
    connected = installation.connected()
    serving = serving_of(installation, connected, dataset, wait=FIRST_WAIT)
    traffic = traffic_of(installation, connected, dataset, serving.answer)
    known = traffic.answer if traffic else None
    return page(
        request,
        "endpoint.html",
        title=f"Endpoint of {dataset}",
        tab="endpoint",
        tabs=("models", "endpoint"),
        dataset=dataset,
        refresh=REFRESH_SECONDS,
        serving=serving,
        traffic=traffic,
        requests=_requests_chart(known) if known else "",
        latency=_latency_chart(known) if known else "",
        may_ask=may_start(user, PREDICTING),
        predicting=PREDICTING,
    )


@router.post(
    "/datasets/{dataset}/endpoint/images",
    dependencies=[FROM_THESE_PAGES, Depends(requires_access_dag("POST", DagAccessEntity.RUN, PREDICTING))],
)
async def ask(request: Request, dataset: str) -> dict[str, Any]:
    """What the dataset's endpoint says of one image: the request's body is its bytes, `X-Name` its name."""
    image = bytearray()
    async for part in request.stream():
        image += part
        if len(image) > LARGEST_IMAGE:
            raise HTTPException(413, f"An image may have {LARGEST_IMAGE / 1e6:.0f} MB here: use predict_images.")
    installation = Installation.of(request)
    name = unquote(request.headers.get("x-name", "")) or "The image"
    return await run_in_threadpool(_answer, installation, dataset, name, bytes(image))


def _answer(installation: Installation, dataset: str, name: str, image: bytes) -> dict[str, Any]:
    from include.datasets.version import load
    from include.deployment.predict import Image, answer_of

    connected = installation.connected()
    seen = serving_of(installation, connected, dataset, wait=FIRST_WAIT)
    champion = seen.answer.champion if seen.answer else None
    if champion is None or champion.live is None:
        raise HTTPException(409, f"No endpoint serves {dataset} now.")
    _check_size(image)
    version = installation.slow.see(
        ("version", champion.version.dataset_uri),
        lambda: load(connected.client("s3"), champion.version.dataset_uri),
        wait=10,
    )
    if version.answer is None:
        raise HTTPException(409, f"The dataset version of the model cannot be read: {version.error}")
    with _ONE_AT_A_TIME:
        runtime = connected.client("sagemaker-runtime", patient=True)
        answer = answer_of(runtime, champion.live.name, Image(name, lambda: image), version.answer)
    return {
        "name": answer.image,
        "classes": answer.classes[:MOST_NAMES],
        "milliseconds": round(answer.milliseconds, 1),
        "problem": answer.problem,
        "version": champion.version.version,
    }


def _check_size(image: bytes) -> None:
    """Refuse an image that would take much memory once it is decoded."""
    from include.recordio.file_parts import HeaderError
    from include.recordio.header import read_header

    try:
        header = read_header(image)
    except HeaderError:
        return  # what cannot be decoded is reported as such
    if header and header.pixels > MOST_PIXELS:
        raise HTTPException(413, f"The image has {header.width} x {header.height} pixels, which is too many here.")


def _requests_chart(traffic: Traffic) -> Any:
    names = {"requests": "requests", "refused": "refused (4xx)", "failed": "failed (5xx)"}
    lines = [Line(title, list(enumerate(traffic.counts[name]))) for name, title in names.items()]
    return line_chart("Requests by hour", lines, share=False, ticks=_hours(traffic))


def _latency_chart(traffic: Traffic) -> Any:
    points = [(place, value) for place, value in enumerate(traffic.latency_ms) if value is not None]
    lines = [Line("latency", points)]
    return line_chart("Milliseconds in the model, mean by hour", lines, share=False, ticks=_hours(traffic))


def _hours(traffic: Traffic) -> list[str]:
    return [f"{hour:%H:%M}" for hour in traffic.hours]

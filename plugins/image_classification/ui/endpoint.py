"""The page of a dataset's endpoint: its state, its requests, and its answers about images that people give it."""

from __future__ import annotations

import base64
from functools import partial
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import APIRouter, Body, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.status import HTTP_404_NOT_FOUND

from image_classification.ui.access import FROM_THESE_PAGES
from image_classification.ui.charts import Line, line_chart
from image_classification.ui.installation import Installation
from image_classification.ui.model_facts import versions_of
from image_classification.ui.overview import serving_of, traffic_of
from image_classification.ui.questions import IMAGE_POLICY, PREDICTING, asking
from image_classification.ui.rendering import page
from include.catalog.asked_images import MOST_IMAGES, Heard, NoQuestionError, Question, keep_answer, keep_image
from include.catalog.endpoints import SPANS, Traffic
from include.datasets.errors import DatasetError

if TYPE_CHECKING:
    from image_classification.ui.installation import Connected
    from include.catalog import Seen
    from include.catalog.asked_images import CapturedRequest
    from include.catalog.endpoints import Serving
    from include.datasets.version import DatasetVersion
    from include.deployment.predict import Answer
    from include.promotion.champion import Champion

router = APIRouter()

LARGEST_IMAGE = 20_000_000
"""Bytes of an image that a person gives."""
MOST_PIXELS = 50_000_000
"""Pixels of such an image: it is decoded in the API server."""
ADDRESS_SECONDS = 20.0
"""Seconds in which an image has to arrive from a web address."""
LARGEST_SHOWN = 1_000_000
"""Bytes of an image from the web that the page shows."""
MOST_NAMES, MOST_BESIDE = 5, 6
REFRESH_SECONDS, FIRST_WAIT, CAPTURED_SECONDS = 15, 0.5, 20.0
ANSWER_WAIT = 10.0
"""A person who gives an image waits for an answer: a page does not."""
_ONE_AT_A_TIME = BoundedSemaphore(1)
_FETCHING = BoundedSemaphore(2)
"""Fetches from the web wait for others' servers: they may not take all of the API server's threads."""
MAY_ASK = [FROM_THESE_PAGES, Depends(requires_access_dag("POST", DagAccessEntity.RUN, PREDICTING))]
KeptIn = Annotated[str, Query(pattern="^(new|[0-9a-f]{16})?$")]
"""The question that an image belongs to: `new`, or the id that the answer to its first image named."""
PlaceIn = Annotated[int, Query(ge=0, lt=MOST_IMAGES)]


class WebAddress(BaseModel):
    """An image on the web that a person asks about."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(min_length=1, max_length=4000)


@router.get("/datasets/{dataset}/endpoint", response_class=HTMLResponse)
def show(
    request: Request, dataset: str, user: GetUserDep, span: Literal["hour", "day", "week"] = "day"
) -> HTMLResponse:
    """The page; `span` is the time for which requests are shown."""
    installation = Installation.of(request)
    connected = installation.connected()
    serving = serving_of(installation, connected, dataset, wait=FIRST_WAIT)
    traffic = traffic_of(installation, connected, dataset, serving.answer, SPANS[span])
    known = traffic.answer if traffic else None
    listed, versions = versions_of(installation, connected, dataset, wait=FIRST_WAIT)
    champion = _serving_champion(serving)
    number = champion.version.version if champion else None
    others = [each.listed.version for each in versions if each.listed.version != number]
    return page(
        request,
        "endpoint.html",
        title=f"Endpoint of {dataset}",
        tab="endpoint",
        dataset=dataset,
        refresh=REFRESH_SECONDS,
        serving=serving,
        champion=champion,
        traffic=traffic,
        spans=SPANS,
        span=span,
        charts=_charts(known) if known else (),
        captured=_captured(installation, connected, dataset, champion) if champion else None,
        listed=listed,
        others=others,
        beside=others[:MOST_BESIDE],
        most_images=MOST_IMAGES,
        **asking(installation, connected, user),
    )


@router.post("/datasets/{dataset}/endpoint/images", dependencies=MAY_ASK)
async def ask(request: Request, dataset: str, question: KeptIn = "", place: PlaceIn = 0) -> dict[str, Any]:
    """What the dataset's endpoint answers about one image: the request's body is its bytes, `X-Name` its name.

    With a `question` the image is kept for other versions, at its `place` among the question's images.
    """
    image = bytearray()
    async for part in request.stream():
        image += part
        if len(image) > LARGEST_IMAGE:
            raise HTTPException(413, f"An image may have {LARGEST_IMAGE / 1e6:.0f} MB here: use predict_images.")
    installation = Installation.of(request)
    name = unquote(request.headers.get("x-name", "")) or "The image"
    return await run_in_threadpool(_answered, installation, dataset, name, bytes(image), question, place)


@router.post("/datasets/{dataset}/endpoint/addresses", dependencies=MAY_ASK)
def ask_address(
    request: Request, dataset: str, asked: Annotated[WebAddress, Body()], question: KeptIn = "", place: PlaceIn = 0
) -> dict[str, Any]:
    """What the endpoint answers about an image on the web, which the server fetches as it would fetch a dataset."""
    from include.datasets.unpacking.addresses import SourcePolicy
    from include.deployment.predict import read_web_image
    from include.problems import shown_address

    installation = Installation.of(request)
    policy = SourcePolicy.of(installation.connected().settings)
    if not _FETCHING.acquire(blocking=False):
        raise HTTPException(429, "Two addresses are being read already: try again in a moment.")
    try:
        image = read_web_image(asked.address, policy.networks, most=LARGEST_IMAGE, seconds=ADDRESS_SECONDS)
    except DatasetError as error:
        raise HTTPException(422, str(error)) from error
    finally:
        _FETCHING.release()
    return _answered(installation, dataset, shown_address(asked.address), image, question, place, is_shown=True)


@router.get("/datasets/{dataset}/endpoint/captured/{event}")
def captured_image(request: Request, dataset: str, event: str) -> Response:
    """The image of a captured request that the page shows."""
    installation = Installation.of(request)
    connected = installation.connected()
    champion = _serving_champion(serving_of(installation, connected, dataset, wait=FIRST_WAIT))
    seen = _captured(installation, connected, dataset, champion) if champion else None
    found = next((each for each in (seen.answer if seen else None) or () if each.event == event and each.image), None)
    if found is None:
        raise HTTPException(HTTP_404_NOT_FOUND, "This captured request is not shown any more.")
    headers = {"Content-Security-Policy": IMAGE_POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(
        found.image, media_type=found.content_type, headers={**headers, "Cache-Control": "private, max-age=600"}
    )


def _serving_champion(serving: Seen[Serving]) -> Champion | None:
    """The champion, if an endpoint serves it."""
    found = serving.answer
    return found.champion if found and found.serves else None


def _answered(  # noqa: PLR0917  (what a request says)
    installation: Installation,
    dataset: str,
    name: str,
    image: bytes,
    question: str,
    place: int,
    *,
    is_shown: bool = False,
) -> dict[str, Any]:
    """What the page's script shows of one image; `is_shown` if the image itself has to be in it."""
    connected = installation.connected()
    champion = _serving_champion(serving_of(installation, connected, dataset, wait=ANSWER_WAIT))
    if champion is None and not question:
        raise HTTPException(409, f"No endpoint serves {dataset} now.")
    _check_size(image)
    found: dict[str, Any] = {"name": name, "classes": [], "milliseconds": None, "problem": "", "version": None}
    answer = _answer(installation, connected, champion, name, image) if champion else None
    if champion and answer:
        found |= {"name": answer.image, "problem": answer.problem, "version": champion.version.version}
        found |= {"classes": answer.classes[:MOST_NAMES], "milliseconds": round(answer.milliseconds, 1)}
        if is_shown and 0 < len(answer.sent) <= LARGEST_SHOWN:
            found["image"] = _as_address(answer.sent)
    if question:
        found["question"] = _kept(connected, dataset, question, place, name, image, champion, answer)
    return found


def _answer(installation: Installation, connected: Connected, champion: Champion, name: str, image: bytes) -> Answer:
    from include.deployment.predict import Image, answer_of

    assert champion.live is not None  # noqa: S101  (it serves)
    version = _dataset_version(installation, connected, champion)
    if version.answer is None:
        raise HTTPException(409, f"The dataset version of the model cannot be read: {version.error}")
    with _ONE_AT_A_TIME:
        runtime = connected.client("sagemaker-runtime", patient=True)
        return answer_of(runtime, champion.live.name, Image(name, lambda: image), version.answer)


def _dataset_version(
    installation: Installation, connected: Connected, champion: Champion, *, wait: float = ANSWER_WAIT
) -> Seen[DatasetVersion]:
    """The dataset version that the champion learned from: how images are packed, and the names of the classes."""
    from include.datasets.version import load

    uri = champion.version.dataset_uri
    return installation.slow.see(("version", uri), lambda: load(connected.client("s3"), uri), wait=wait)


def _kept(  # noqa: PLR0917  (one image with all that belongs to it)
    connected: Connected,
    dataset: str,
    question: str,
    place: int,
    name: str,
    image: bytes,
    champion: Champion | None,
    answer: Answer | None,
) -> str:
    """Keep an image and its answer for other versions; returns the question's id."""
    s3, settings = connected.client("s3"), connected.settings
    try:
        kept_in = (
            Question.new(settings, dataset)
            if question == "new"
            else Question(settings.output_bucket, dataset, question)
        )
    except NoQuestionError as error:
        raise HTTPException(HTTP_404_NOT_FOUND, str(error)) from error
    kept = keep_image(s3, kept_in, place, name, image)
    if champion and answer:
        heard = Heard(answer.classes, round(answer.milliseconds, 1), answer.problem)
        keep_answer(s3, kept_in, kept, heard, champion.version.version)
    return kept_in.id


def _as_address(image: bytes) -> str:
    from include.evaluation.prediction import content_type

    return f"data:{content_type(image)};base64,{base64.b64encode(image).decode()}"


def _captured(
    installation: Installation, connected: Connected, dataset: str, champion: Champion
) -> Seen[tuple[CapturedRequest, ...]] | None:
    """The newest captured requests; None if nothing is captured."""
    live = champion.live
    if live is None or not live.capture_percent:
        return None

    def look() -> tuple[CapturedRequest, ...]:
        from include.catalog.asked_images import newest_captured

        version = _dataset_version(installation, connected, champion).answer
        labels = version.labels if version else ()
        return newest_captured(connected.client("s3"), connected.settings, live.name, labels)

    return installation.quick.see(("captured", dataset, live.name), look, seconds=CAPTURED_SECONDS, wait=FIRST_WAIT)


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


def _charts(traffic: Traffic) -> list[Any]:
    """Requests, errors and latency by step; those that are empty are left out."""
    by, ticks = f"every {traffic.span.step_title} (UTC)", [f"{at:{traffic.span.clock}}" for at in traffic.moments]
    counted = {"requests": "requests", "refused": "refused (4xx)", "failed": "failed (5xx)"}
    lines = [Line(title, list(enumerate(traffic.counts[name]))) for name, title in counted.items()]
    latency = [
        Line(title, [(place, value) for place, value in enumerate(values) if value is not None])
        for title, values in (("mean", traffic.latency_ms), ("slowest", traffic.worst_latency_ms))
    ]
    chart = partial(line_chart, share=False, ticks=ticks)
    return [
        chart(f"Requests, {by}", lines[:1]),
        chart(f"Errors, {by}", lines[1:]),
        chart(f"Milliseconds in the model, {by}", latency),
    ]

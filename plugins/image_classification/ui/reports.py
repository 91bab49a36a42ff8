"""Reports of runs and pages of dataset versions: read from S3 by the server, shown without scripts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from image_classification.ui.access import readable_dags
from image_classification.ui.installation import Installation
from image_classification.ui.overview import visible_runs
from image_classification.ui.rendering import page
from include.catalog.stored_pages import NoPageError, Place, StoredFile, read_stored, stored_files

if TYPE_CHECKING:
    from image_classification.ui.installation import Connected

REPORT_POLICY = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
"""A report has styles and pictures of its own, and no script: neither what it holds nor what it says can run one."""
DARK_RULES = b"@media (prefers-color-scheme: dark)"
"""How the styles of a report begin that are for a dark page."""
NAMES = {"report.html": "Evaluation", "leaderboard.html": "Leaderboard", "profile.html": "Profile"}
FILES_SECONDS, FIRST_WAIT = 10.0, 2.0

router = APIRouter()


@router.get("/reports/{path:path}", response_class=HTMLResponse)
def report(request: Request, path: str, user: GetUserDep) -> HTMLResponse:
    """The reports of a run: one of its pages, and the other files that lie beside it."""
    place, installation = Place.of("reports", path), Installation.of(request)
    run, name = place.parts[0], "/".join(place.parts[1:])
    look = partial(_listed, installation.connected(), run)
    files = installation.quick.see(("files", run), look, seconds=FILES_SECONDS, wait=FIRST_WAIT)
    found = [file.name for file in files.answer or () if file.name.endswith(".html")]
    pages = sorted(found, key=lambda page: (page not in NAMES, page.count("/"), page != "report.html", page))
    within = name if name.endswith("/") else ""
    chosen = name.removesuffix("/") if not within else ""
    chosen = chosen or next((f"{within}{page}" for page in NAMES if f"{within}{page}" in pages), "")
    chosen = chosen or (pages[0] if pages else "")
    return page(
        request,
        "report.html",
        title=f"Report of {run}",
        tab="reports",
        run=run,
        of_run=next((each for each in visible_runs(installation, readable_dags(user)) if each.short_name == run), None),
        files=files,
        pages=pages,
        names=NAMES,
        chosen=chosen,
        is_page=chosen.endswith(".html"),
    )


@router.get("/datasets/{dataset}/{version}/report.html", response_class=HTMLResponse)
def dataset_report(request: Request, dataset: str, version: str) -> HTMLResponse:
    """The page of a dataset version."""
    Place.of("datasets", f"{dataset}/{version}/report.html")
    title = f"{dataset} {version}"
    return page(request, "dataset_report.html", title=title, tab="versions", dataset=dataset, version=version)


@router.get("/stored/{kind}/{path:path}")
def stored(request: Request, kind: str, path: str, theme: Literal["", "light", "dark"] = "") -> Response:
    """A file of a report or dataset version as it lies in S3, for the frame of a page or to be kept.

    A `theme` decides whether a report is light or dark, as Airflow is; without one the reader's system does.
    """
    place = Place.of(kind, path)
    if place.parts[-1] == "":
        raise NoPageError(f"There is no file {path!r}.")
    connected = Installation.of(request).connected()
    content = read_stored(connected.client("s3"), connected.settings, place)
    if theme and place.content_type.startswith("text/html"):
        content = content.replace(DARK_RULES, b"@media all" if theme == "dark" else b"@media not all")
    headers = {
        "Content-Security-Policy": REPORT_POLICY,
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }
    if not place.content_type.startswith(("text/html", "image/")):
        headers["Content-Disposition"] = f'attachment; filename="{place.parts[-1]}"'
    return Response(content, media_type=place.content_type, headers=headers)


def _listed(connected: Connected, run: str) -> tuple[StoredFile, ...]:
    return tuple(stored_files(connected.client("s3"), connected.settings, run))

"""The pages as one FastAPI application, mounted below Airflow's API server, which signs people in."""

from __future__ import annotations

import logging
from threading import Thread
from time import monotonic
from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.status import HTTP_401_UNAUTHORIZED, HTTP_404_NOT_FOUND, HTTP_500_INTERNAL_SERVER_ERROR

from image_classification.ui import (
    actions,
    datasets,
    endpoint,
    jobs,
    models,
    new_run,
    overview,
    questions,
    reports,
    runs,
)
from image_classification.ui.access import MAY_READ
from image_classification.ui.installation import Installation
from image_classification.ui.rendering import HEADERS, HERE, STATIC, environment, page
from include.catalog import WAIT_UNTIL
from include.catalog.stored_pages import NoPageError
from include.sagemaker.containers import instance_types
from include.settings import SettingsError

log = logging.getLogger(__name__)

SERVICES = ("s3", "sagemaker", "logs", "cloudwatch")
"""Whose clients the pages use."""
LONGEST_WAIT = 0.6
"""Seconds for which a page waits for all first answers together."""


def build_pages(airflow: FastAPI) -> FastAPI:
    """The application; what Airflow's own routes find in the state of its application, they find here too."""
    pages = FastAPI(title="Image classification", openapi_url=None, docs_url=None, redoc_url=None)
    for name in ("auth_manager", "dag_bag", "secret_key"):
        setattr(pages.state, name, getattr(airflow.state, name, None))
    pages.state.installation = Installation()
    for module in (overview, models, new_run, datasets, runs, endpoint, questions, jobs, reports, actions):
        pages.include_router(module.router, dependencies=[MAY_READ, Depends(_in_time)])
    pages.add_api_route("/static/{name}", _static)
    pages.add_exception_handler(HTTPException, _refused)
    pages.add_exception_handler(RequestValidationError, _misread)
    pages.add_exception_handler(SettingsError, _unset)
    pages.add_exception_handler(NoPageError, _absent)
    pages.add_exception_handler(Exception, _failed)
    Thread(target=_warm_up, args=(pages.state.installation,), name="pages-warm-up", daemon=True).start()
    return pages


def _warm_up(installation: Installation) -> None:
    """Make ready what takes long the first time: templates, names of machines, clients of AWS.

    Airflow's navigation asks for the icon of the pages, so this is done before somebody opens one.
    """
    templates = environment()
    for name in templates.list_templates():
        templates.get_template(name)
    instance_types("TransformInstanceType")
    try:
        connected = installation.connected()
        for service in SERVICES:
            connected.client(service)
    except Exception:  # the page that needs them shows it
        log.debug("The pages are not connected to AWS yet.", exc_info=True)


async def _in_time() -> None:
    WAIT_UNTIL.set(monotonic() + LONGEST_WAIT)


def _static(name: str) -> Response:
    """A style, script or icon of this package: the page that asks a person to sign in has them too."""
    if name not in STATIC:
        raise HTTPException(HTTP_404_NOT_FOUND, f"There is no file {name}.")
    headers = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
    return Response((HERE / "static" / name).read_bytes(), media_type=STATIC[name], headers=headers)


def _refused(request: Request, error: Any) -> Response:
    words = {HTTP_401_UNAUTHORIZED: "Sign in first", HTTP_404_NOT_FOUND: "There is no such page"}
    title = words.get(error.status_code, "Not allowed")
    sign_in = ""
    if error.status_code == HTTP_401_UNAUTHORIZED:
        sign_in = get_auth_manager().get_url_login(next_url=str(request.url))
    return _say(request, error.status_code, title, str(error.detail), sign_in=sign_in)


def _misread(request: Request, error: Any) -> Response:
    wrong = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors())
    return _say(request, 422, "That cannot be read", wrong)


def _unset(request: Request, error: Any) -> Response:
    lines = [f"{problem.field}: {problem.remedy}" for problem in error.problems]
    return _say(request, 503, "The installation's settings need attention", error.title, lines)


def _absent(request: Request, error: Any) -> Response:
    return _say(request, HTTP_404_NOT_FOUND, "There is no such page", str(error))


def _failed(request: Request, error: Any) -> Response:
    log.error("The page %s failed.", quote(request.url.path), exc_info=error)
    reason = f"{type(error).__name__}: {error}"
    return _say(request, HTTP_500_INTERNAL_SERVER_ERROR, "This page has failed", reason)


def _say(request: Request, status: int, title: str, reason: str, lines: Any = (), *, sign_in: str = "") -> Response:
    if "text/html" not in request.headers.get("accept", "") and request.method != "GET":
        return JSONResponse({"detail": reason}, status, headers=HEADERS)
    return page(request, "refusal.html", status, title=title, tab="", reason=reason, lines=lines, sign_in=sign_in)

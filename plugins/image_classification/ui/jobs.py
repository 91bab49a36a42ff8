"""The page of one job or endpoint, with the end of its log: on a local AWS there is no console that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse
from starlette.status import HTTP_404_NOT_FOUND

from image_classification.ui.installation import Installation
from image_classification.ui.rendering import page
from include.sagemaker.api import KINDS, JobKind, existing

if TYPE_CHECKING:
    from image_classification.ui.installation import Connected

router = APIRouter()

REFRESH_SECONDS, FIRST_WAIT = 5, 1.0
MOST_LINES, MOST_STREAMS = 400, 5
"""The end of a log that is shown."""
SHOWN = {
    "FailureReason": "Failure",
    "TrainingTimeInSeconds": "Seconds",
    "BillableTimeInSeconds": "Seconds billed",
    "ResourceConfig": "Machines",
    "TransformResources": "Machines",
    "CreationTime": "Created",
    "TrainingStartTime": "Started",
    "TrainingEndTime": "Ended",
    "ModelArtifacts": "Model",
}
"""Fields of a description, and what the page calls them."""


@router.get("/jobs/{action}/{name}", response_class=HTMLResponse)
def job(request: Request, action: str, name: str) -> HTMLResponse:
    """The page."""
    kind = KINDS.get(action)
    if kind is None:
        raise HTTPException(HTTP_404_NOT_FOUND, f"There are no jobs of kind {action}.")
    installation = Installation.of(request)
    connected = installation.connected()
    described = installation.quick.see(
        ("job", action, name), partial(_described, connected, kind, name), seconds=3, wait=FIRST_WAIT
    )
    lines = installation.quick.see(
        ("log", action, name), partial(_log, connected, kind, name), seconds=3, wait=FIRST_WAIT
    )
    found = described.answer
    if found == {}:
        raise HTTPException(HTTP_404_NOT_FOUND, f"There is no {kind.noun} {name}.")
    return page(
        request,
        "job.html",
        title=name,
        tab="",
        refresh=REFRESH_SECONDS,
        kind=kind,
        name=name,
        described=described,
        job_status=kind.status(found) if found else "",
        facts=_facts(found) if found else [],
        hyperparameters=(found or {}).get("HyperParameters") or {},
        lines=lines,
    )


def _described(connected: Connected, kind: JobKind, name: str) -> Mapping[str, Any]:
    """The description; empty if there is no such job."""
    return existing(getattr(connected.client("sagemaker"), kind.describe), **kind.named(name)) or {}


def _facts(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    for field, title in SHOWN.items():
        value = described.get(field)
        if isinstance(value, Mapping) and "InstanceType" in value:
            value = f"{value.get('InstanceCount', 1)} x {value['InstanceType']}"
        elif isinstance(value, Mapping):
            value = ", ".join(str(part) for part in value.values())
        elif isinstance(value, datetime):
            value = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        if value not in (None, ""):
            facts.append((title, str(value)))
    return facts


def _log(connected: Connected, kind: JobKind, name: str) -> tuple[str, ...]:
    """The last lines of the newest streams; none before there is a log."""
    logs, (group, prefix) = connected.client("logs"), kind.log_place(name)
    streams = existing(logs.describe_log_streams, logGroupName=group, logStreamNamePrefix=prefix) if prefix else None
    if not prefix:
        streams = existing(logs.describe_log_streams, logGroupName=group)
    names = [stream["logStreamName"] for stream in (streams or {}).get("logStreams", ())][-MOST_STREAMS:]
    events = [
        event
        for stream in names
        for event in logs.get_log_events(
            logGroupName=group, logStreamName=stream, limit=MOST_LINES, startFromHead=False
        )["events"]
    ]
    events.sort(key=lambda event: event["timestamp"])
    return tuple(str(event["message"]) for event in events[-MOST_LINES:])

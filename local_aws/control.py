"""The server's own paths, `/_local_aws/...`: is it up, what was it asked, and faults that nobody can order of AWS."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from typing import Any

from werkzeug.wrappers import Response

from local_aws.account import Server
from local_aws.aws_errors import AwsError
from local_aws.calls import CONTROL_PREFIX
from local_aws.sagemaker.control_plane import SageMakers
from local_aws.sagemaker.training.api import TrainingJobs
from local_aws.service import AwsRequest, Service

INTERRUPTION = re.compile(r"training-jobs/(?P<name>[\w-]+)/interruption")


class CallCounts:
    """How often each action was called; what the server asks itself is not counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def note(self, request: AwsRequest) -> None:
        """Count a request as `service:Action`, or by its HTTP method if only the path shows the action."""
        if request.is_own:
            return
        target = request.target.rpartition(".")[2]
        action = target or request.form.get("Action") or request.environ["REQUEST_METHOD"]
        with self._lock:
            self._counts[f"{request.signed.service}:{action}"] += 1

    def all(self) -> dict[str, int]:
        """The counts since the start."""
        with self._lock:
            return dict(sorted(self._counts.items()))


class Control(Service):
    """The server's own paths."""

    is_aws = False

    def __init__(self, server: Server, counts: CallCounts, sagemakers: SageMakers) -> None:
        self._server = server
        self._counts = counts
        self._sagemakers = sagemakers

    def owns(self, request: AwsRequest) -> bool:
        """Whether the path is one of the server's own."""
        return request.path.startswith(CONTROL_PREFIX)

    def answer(self, request: AwsRequest) -> Response:
        """A document in JSON; raises AwsError for what there is not."""
        asked = (request.environ["REQUEST_METHOD"], request.path.removeprefix(CONTROL_PREFIX))
        if asked == ("GET", "health"):
            return _json({"status": "ok", "endpoint_url": self._server.endpoint_url, "jobs": self._server.slots.count})
        if asked == ("GET", "calls"):
            return _json(self._counts.all())
        if asked == ("POST", "faults"):
            self._server.faults.expect(_document(request))
            return _json({})
        job = INTERRUPTION.fullmatch(asked[1])
        if job is not None and asked[0] == "POST":
            _check_content_type(request)
            self._interrupt(job["name"])
            return _json({})
        raise AwsError("UnknownOperationException", f"There is no {asked[0]} {CONTROL_PREFIX}{asked[1]}.", status=404)

    def _interrupt(self, name: str) -> None:
        """Take its spot instance from a training job, in whatever account and region it runs."""
        areas = [sagemaker.area(TrainingJobs) for sagemaker in self._sagemakers.all()]
        jobs = [job for area in areas if (job := area.jobs.find(name)) is not None]
        if not jobs:
            raise AwsError("ResourceNotFound", f"There is no training job {name!r}.", status=404)
        for job in jobs:
            if not job.interrupt():
                raise AwsError(
                    "ResourceInUse",
                    f"The training job {name!r} cannot be interrupted: only a spot job can whose container runs, "
                    f"and it is {job.secondary_status}.",
                    status=409,
                )


def _check_content_type(request: AwsRequest) -> None:
    """Refuse what a form of a web page can send without asking first."""
    given = str(request.environ.get("CONTENT_TYPE", ""))
    if given.partition(";")[0].strip().lower() != "application/json":
        raise AwsError(
            "UnsupportedMediaType",
            f"{request.path} takes the content type application/json, not {given!r}.",
            status=415,
        )


def _document(request: AwsRequest) -> dict[str, Any]:
    _check_content_type(request)
    document = request.document()
    if not isinstance(document, dict):
        raise AwsError("SerializationException", "The request body is not a JSON object.")
    return document


def _json(document: Any) -> Response:
    return Response(json.dumps(document), content_type="application/json")

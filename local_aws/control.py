"""The server's own paths, `/_local_aws/...`: is it up, what was it asked, and faults that nobody can order of AWS."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from local_aws.aws_errors import AwsError
from local_aws.calls import CONTROL_PREFIX, WSGIEnvironment, read_json
from local_aws.context import OWN_CALLS, Server
from local_aws.sagemaker.training.api import TrainingJobs

if TYPE_CHECKING:
    from local_aws.sagemaker.control_plane import SageMakers

INTERRUPTION = re.compile(r"training-jobs/(?P<name>[\w-]+)/interruption")


class CallCounts:
    """How often each action was called; what the server asks itself is not counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def note(self, environ: WSGIEnvironment, service: str, form: dict[str, str]) -> None:
        """Count a request as `service:Action`, or by its HTTP method where only the path tells the action."""
        if OWN_CALLS in environ:
            return
        target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        action = target or form.get("Action") or environ["REQUEST_METHOD"]
        with self._lock:
            self._counts[f"{service}:{action}"] += 1

    def all(self) -> dict[str, int]:
        """Return the counts since the start."""
        with self._lock:
            return dict(sorted(self._counts.items()))


class Control:
    """Answers the server's own paths."""

    def __init__(self, server: Server, sagemakers: SageMakers) -> None:
        self._server = server
        self._sagemakers = sagemakers
        self.calls = CallCounts()

    def answer(self, environ: WSGIEnvironment) -> Response:
        """Answer in JSON; raises AwsError for what there is not."""
        asked = (environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(CONTROL_PREFIX))
        if asked == ("GET", "health"):
            return _json({"status": "ok", "endpoint_url": self._server.endpoint_url, "jobs": self._server.slots.count})
        if asked == ("GET", "calls"):
            return _json(self.calls.all())
        if asked == ("POST", "faults"):
            self._server.faults.expect(_document(environ))
            return _json({})
        job = INTERRUPTION.fullmatch(asked[1])
        if job is not None and asked[0] == "POST":
            _check_content_type(environ)
            self._interrupt(job["name"])
            return _json({})
        raise AwsError("UnknownOperationException", f"There is no {asked[0]} {CONTROL_PREFIX}{asked[1]}.", status=404)

    def _interrupt(self, name: str) -> None:
        """Take its spot instance from a training job, in whatever account and region it runs."""
        areas = [sagemaker.area(TrainingJobs) for sagemaker in self._sagemakers.all().values()]
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


def _check_content_type(environ: WSGIEnvironment) -> None:
    """Refuse what a form of a web page can send without asking first."""
    given = str(environ.get("CONTENT_TYPE", ""))
    if given.partition(";")[0].strip().lower() != "application/json":
        raise AwsError(
            "UnsupportedMediaType",
            f"{environ['PATH_INFO']} takes the content type application/json, not {given!r}.",
            status=415,
        )


def _document(environ: WSGIEnvironment) -> dict[str, Any]:
    _check_content_type(environ)
    document = read_json(Request(environ).get_data())
    if not isinstance(document, dict):
        raise AwsError("SerializationException", "The request body is not a JSON object.")
    return document


def _json(document: Any) -> Response:
    return Response(json.dumps(document), content_type="application/json")

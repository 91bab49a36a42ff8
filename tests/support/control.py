"""What tests ask of the local AWS beside the AWS API."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def ask(url: str, path: str, document: dict[str, Any] | None = None) -> Any:
    """Send a document to `/_local_aws/PATH`, or read it; raises HTTPError for what the server refuses."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(
        f"{url}/_local_aws/{path}", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def interrupt(url: str, job: str) -> None:
    """Take its spot instance from a training job."""
    ask(url, f"training-jobs/{job}/interruption", {})


def calls(url: str) -> dict[str, int]:
    """How often each action was called since the server started, by `service:Action`."""
    counts: dict[str, int] = ask(url, "calls")
    return counts

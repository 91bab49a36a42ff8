"""A process that has imported everything a build needs, and forks a child for each build that is to be killed.

Reads a JSON document a line: how to build, and at which request to S3 to end the child with SIGKILL. Answers each with
a line: how the child ended, its number of requests, and the last one.
"""

from __future__ import annotations

import _strptime
import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from functools import partial
from typing import Any

import boto3
import pandas as pd
import pyarrow.acero

from include.datasets import objects, publishing
from include.datasets.objects import PartLimits
from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.run_conf import DatasetConf

RUN_AFTER = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SMALLEST_PART = 1_000
LIMITS = PartLimits(smallest=SMALLEST_PART, largest=20_000, count=6)


IMPORTED_LATE = (_strptime, pd, pyarrow.acero)
"""What a build would else import for itself, which takes longer than the build."""


class Requests:
    """Counts the requests of a client and kills the process in the middle of one of them."""

    def __init__(self, said: int, kill_at: int | None, after_seconds: float) -> None:
        self._said = said
        self._kill_at = kill_at
        self._after_seconds = after_seconds
        self._count = 0

    def note(self, model: Any, params: Any, **_: Any) -> None:
        self._count += 1
        place = params["url_path"].partition("/datasets/")[2] or params["url_path"]
        os.write(self._said, f"{self._count} {model.name} {place}\n".encode())
        if self._count == self._kill_at:
            threading.Timer(self._after_seconds, os.kill, [os.getpid(), signal.SIGKILL]).start()


def build(s3: Any, order: dict[str, Any]) -> None:
    conf = DatasetConf.model_validate(order["conf"])
    plan = plan_version(
        s3, conf, data_bucket=order["bucket"], run_id=order["run_id"], run_after=RUN_AFTER, parent=order["parent"]
    )
    publish_version(s3, plan, [pack_shard(s3, plan, shard) for shard in plan.shards])


def fork_build(s3: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Build in a child, wait for its end, and tell how it ended and what it asked S3 for."""
    listened, said = os.pipe()
    child = os.fork()
    if not child:
        os.close(listened)
        requests = Requests(said, order["kill_at"], order["after_seconds"])
        s3.meta.events.register("before-call.s3", requests.note)
        failed = True
        try:
            build(s3, order)
            failed = False
        finally:
            os._exit(failed)  # the child must not come back to the parent's loop
    os.close(said)
    with os.fdopen(listened) as pipe:
        lines = pipe.read().splitlines()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"exit_code": ended, "requests": len(lines), "last": lines[-1] if lines else ""}


if __name__ == "__main__":
    publishing.compose = partial(objects.compose, limits=LIMITS)  # type: ignore[attr-defined]
    objects.SINK_PART = 3 * SMALLEST_PART
    client = boto3.client(
        "s3", endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    for line in sys.stdin:
        print(json.dumps(fork_build(client, json.loads(line))), flush=True)  # noqa: T201

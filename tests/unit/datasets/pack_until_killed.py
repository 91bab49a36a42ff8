"""Pack the first shard of the plan given as JSON, say so after the first uploaded part, and wait there to be killed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import boto3

from include.datasets import multipart
from include.datasets.plan import VersionPlan
from include.datasets.shard import pack_shard


class StuckUpload(multipart.MultipartUpload):
    """Never comes to its second part."""

    def upload(self, read: Callable[[], bytes]) -> None:
        super().upload(read)
        sys.stdout.write("uploading\n")
        sys.stdout.flush()
        threading.Event().wait()


endpoint, document = sys.argv[1:]
multipart.MultipartUpload = StuckUpload  # type: ignore[misc]
multipart.SINK_PART = 6000
s3 = boto3.client(
    "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
)
plan = VersionPlan.model_validate_json(document)
pack_shard(s3, plan, plan.shards[0])

"""What tests of dataset versions share: an S3 server of their own, a bucket for each test, real JPEGs."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.moto_server import werkzeug_app
from werkzeug.serving import make_server

from include.datasets.manifest import read_manifest
from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion, VersionPlan
from include.run_conf import DatasetConf
from local_aws.moto_backend import AnyCharacter
from local_aws.server import QuietRequestHandler
from tests.support.direct_requests import answer_directly
from tests.support.pictures import jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RUN_AFTER = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@cache
def application(service: str = "s3") -> Any:
    """Moto's S3, or another service, alone: without its search for the service of each request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(werkzeug_app, "RegexConverter", AnyCharacter)
        return werkzeug_app.create_backend_app(service)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The address at which any client, obstore's too, reaches the S3 server; it writes no line for each request."""
    server = make_server("127.0.0.1", 0, application(), threaded=True, request_handler=QuietRequestHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def s3(endpoint: str) -> S3Client:
    """A client of the server at `endpoint` that calls it directly: most requests of these tests are its."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    answer_directly(client, application())
    return client


@dataclass(frozen=True)
class Bucket:
    """A data bucket with images under `images/`."""

    s3: S3Client
    name: str

    @property
    def client(self) -> S3Client:
        return self.s3

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=body)

    def put_images(self, classes: Mapping[str, int], *, first: int = 0, side: int = 16) -> None:
        for place, (label, count) in enumerate(sorted(classes.items())):
            for number in range(first, first + count):
                self.put(f"images/{label}/{number:03d}.jpg", jpeg(side, side + 4, seed=1000 * (place + 1) + number))

    def get(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()

    def listing(self, prefix: str = "datasets/") -> list[str]:
        listing = self.s3.list_objects_v2(Bucket=self.name, Prefix=prefix)
        return [listed["Key"] for listed in listing.get("Contents", [])]

    def stale_uploads(self) -> int:
        return len(self.s3.list_multipart_uploads(Bucket=self.name).get("Uploads", []))

    def conf(self, **changes: Any) -> DatasetConf:
        return DatasetConf.model_validate({"name": "pets", **changes})

    def plan(self, conf: DatasetConf, run_id: str = "manual__1", **options: Any) -> VersionPlan:
        options = {"data_bucket": self.name, "run_id": run_id, "run_after": RUN_AFTER, **options}
        return plan_version(self.s3, conf, **options)

    def build(self, conf: DatasetConf, run_id: str = "manual__1", **options: Any) -> DatasetVersion:
        plan = self.plan(conf, run_id, **options)
        return publish_version(self.s3, plan, [pack_shard(self.s3, plan, shard) for shard in plan.shards])


@pytest.fixture
def bucket(s3: S3Client) -> Bucket:
    name = f"data-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return Bucket(s3, name)


@pytest.fixture
def rows(s3: S3Client) -> Callable[[DatasetVersion], dict[str, dict[str, Any]]]:
    """The manifest of a version by key."""

    def read(version: DatasetVersion) -> dict[str, dict[str, Any]]:
        table = read_manifest(s3, version.layout.bucket, version.layout.manifest)
        by_key = {row["key"]: row for row in table.to_pylist()}
        assert len(by_key) == table.num_rows, "one row per source image"
        return by_key

    return read

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from include.datasets.layout import VersionLayout, version_name
from include.datasets.publishing.working_files import remove_working_files
from tests.unit.datasets.conftest import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOW = datetime.now(UTC)


def unfinished(bucket: Bucket) -> list[str]:
    listing = bucket.s3.list_multipart_uploads(Bucket=bucket.name)
    return [upload["Key"].split("/")[2] for upload in listing.get("Uploads", [])]


def test_uploads_of_this_run_and_of_runs_long_dead_are_aborted_and_no_others(s3: S3Client, bucket: Bucket) -> None:
    own, running = version_name("own", NOW), version_name("running", NOW - timedelta(days=6))
    dead = version_name("dead", NOW - timedelta(days=8))
    for name in (own, running, dead, "by-hand"):
        key = VersionLayout(bucket.name, "pets", name).packed_shard(0)
        s3.create_multipart_upload(Bucket=bucket.name, Key=key)
    s3.create_multipart_upload(Bucket=bucket.name, Key=VersionLayout(bucket.name, "pets2", dead).packed_shard(0))
    remove_working_files(s3, VersionLayout(bucket.name, "pets", own))
    assert sorted(unfinished(bucket)) == sorted([running, "by-hand", dead])

"""What a build leaves in S3 beside its version: plan, shards and unfinished uploads."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from include.datasets.layout import VersionLayout

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

ABANDONED_AFTER = timedelta(days=7)
"""Longer than any build takes: an unfinished upload of a run before that is nobody's any more."""


def remove_working_files(s3: S3Client, layout: VersionLayout) -> int:
    """Remove a version's plan and shards and abort its uploads; returns the number of objects removed.

    Uploads of other versions of the dataset are aborted where both the run and the upload began more than
    `ABANDONED_AFTER` ago.
    """
    abort_uploads(s3, layout, before=datetime.now(UTC) - ABANDONED_AFTER)
    removed = 0
    for prefix in (layout.plan, layout.shards):
        for listing in s3.get_paginator("list_objects_v2").paginate(Bucket=layout.bucket, Prefix=prefix):
            keys = [listed["Key"] for listed in listing.get("Contents", [])]
            if keys:
                s3.delete_objects(
                    Bucket=layout.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
                )
            removed += len(keys)
    return removed


def abort_uploads(s3: S3Client, layout: VersionLayout, *, before: datetime) -> None:
    """Abort the version's own uploads, and those of other runs of the dataset that began `before`."""
    dataset = layout.prefix.removesuffix(f"{layout.version}/")
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=layout.bucket, Prefix=dataset):
        for upload in page.get("Uploads", []):
            version = upload["Key"].removeprefix(dataset).partition("/")[0]
            began = VersionLayout(layout.bucket, layout.name, version).began
            abandoned = began is not None and began < before and upload["Initiated"] < before
            if version != layout.version and not abandoned:
                continue
            if abandoned:
                log.info("Aborting the upload of %s, which a run of %s never finished", upload["Key"], began)
            s3.abort_multipart_upload(Bucket=layout.bucket, Key=upload["Key"], UploadId=upload["UploadId"])

"""The pages and documents in S3 that people may read here: reports of runs, and the page of a dataset version.

An address is never taken from outside: a page is named by its run, or by its dataset and version, and by its own name,
and the buckets are the installation's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.datasets.layout import parse_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.settings import Settings

LARGEST = 64_000_000
"""Bytes of a file that is passed on."""
KINDS = {
    ".csv": "text/csv; charset=utf-8",
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,254}")
OF_A_VERSION = frozenset({"report.html", "dataset.json", "labels.json", "not-packed.txt", "manifest.parquet"})
"""Files of a dataset version that people read; its images and records are not documents."""
OF_A_VERSION_IMAGES = re.compile(r"images/test/\d{1,12}\.(jpg|png)")


class NoPageError(LookupError):
    """There is no such page, or none that may be shown."""


@dataclass(frozen=True)
class Place:
    """Where a file lies: `kind` is `reports` or `datasets`, `parts` is what names it."""

    kind: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, kind: str, path: str) -> Place:
        """Read a path as pages have it. Raises NoPageError for any that is none of a report or dataset version."""
        parts = tuple(path.split("/"))
        within = parts[:-1] if parts[-1] == "" else parts
        if not all(_PART.fullmatch(part) for part in within) or any(".." in part for part in within):
            raise NoPageError(f"There is no page {path!r}.")
        name = "/".join(parts[2:])
        of_a_version = len(parts) > 2 and (name in OF_A_VERSION or OF_A_VERSION_IMAGES.fullmatch(name))
        if not (kind == "reports" and len(parts) > 1) and not (kind == "datasets" and of_a_version):
            raise NoPageError(f"There is no page {path!r}.")
        return cls(kind, parts)

    def object(self, settings: Settings) -> tuple[str, str]:
        """Bucket and key."""
        bucket = settings.output_bucket if self.kind == "reports" else settings.data_bucket
        return bucket, f"{self.kind}/{'/'.join(self.parts)}"

    @property
    def content_type(self) -> str:
        """By the file's name; anything unknown is bytes to keep."""
        ending = self.parts[-1].rpartition(".")[2].lower()
        return KINDS.get(f".{ending}", "application/octet-stream")


@dataclass(frozen=True)
class StoredFile:
    """A file of a report's folder."""

    name: str
    size: int


def page_path(settings: Settings, uri: str) -> str:
    """The path of the page, or of the file, that shows what lies at an address in S3; empty if none does.

    The folder of a report has a page, that of a dataset version has none.
    """
    bucket, key = parse_s3_uri(uri)
    kind, _, path = key.partition("/")
    if bucket != {"reports": settings.output_bucket, "datasets": settings.data_bucket}.get(kind):
        return ""
    try:
        Place.of(kind, path)
    except NoPageError:
        return ""
    return f"{kind}/{path}" if path.endswith((".html", "/")) else f"stored/{kind}/{path}"


def read_stored(s3: S3Client, settings: Settings, place: Place) -> bytes:
    """A file's content. Raises NoPageError if there is none, or if it is too large to be passed on."""
    bucket, key = place.object(settings)
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            raise NoPageError(f"There is no s3://{bucket}/{key}. It is written when its task ends.") from error
        raise
    if answer["ContentLength"] > LARGEST:
        size = f"{answer['ContentLength'] / 1e6:,.0f} MB"
        raise NoPageError(f"s3://{bucket}/{key} has {size}: read it from S3, with `aws s3 cp`.")
    return answer["Body"].read()


def stored_files(s3: S3Client, settings: Settings, run: str) -> Iterator[StoredFile]:
    """What lies in the folder of a run's report, those of endpoints that it measured among them."""
    bucket, prefix = Place.of("reports", f"{run}/").object(settings)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            yield StoredFile(entry["Key"].removeprefix(prefix), entry["Size"])

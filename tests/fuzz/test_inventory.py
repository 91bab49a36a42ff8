from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.sources.inventory import Inventory
from tests.fuzz.bounds import damaged, fuzz, within
from tests.unit.datasets.sources.inventories import FORMATS, VERSIONED, Report
from tests.unit.datasets.sources.memory_s3 import MemoryS3

MANIFEST = "inventory/2026-01-02T01-00Z/manifest.json"


def row(key: str, size: int, *, latest: bool = True) -> dict[str, Any]:
    return {
        "Bucket": "images-of-acme",
        "Key": key,
        "VersionId": "v1",
        "IsLatest": latest,
        "IsDeleteMarker": False,
        "Size": size,
        "LastModifiedDate": datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None),
        "ETag": f"e{size}",
    }


def report(bucket: MemoryS3, file_format: str, **changes: Any) -> str:
    rows = [row("images/cat/1 a.jpg", 1), row("images/ü%+.jpg", 2), row("images/cat/1 a.jpg", 3, latest=False)]
    return Report(bucket, file_format, VERSIONED).write(rows, files=1, **changes)


def read(bucket: MemoryS3, uri: str) -> None:
    try:
        inventory = Inventory(bucket.client, uri, "images-of-acme")
        for each in itertools.chain(inventory.objects(""), inventory.find(["images/ü%+.jpg"]).values()):
            assert each.key.encode()
            assert each.size >= 0
        inventory.folder("images/")
    except DatasetError as error:
        assert "dataset.inventory" in str(error)
        assert len(str(error)) < 3000


@pytest.mark.parametrize("file_format", FORMATS)
def test_only_a_dataset_error_comes_out_of_a_file(file_format: str) -> None:
    bucket = MemoryS3()
    report(bucket, file_format)
    (valid,) = (body for key, body in bucket.documents.items() if key != MANIFEST)

    @fuzz
    @given(body=damaged(valid) | st.binary(max_size=200))
    def read_file(body: bytes) -> None:
        listed = {"inventory/data/0": body}
        uri = Report(bucket, file_format, VERSIONED).write([], files=0, listed=listed)
        with within(seconds=2, megabytes=150):
            read(bucket, uri)

    read_file()


@pytest.mark.parametrize("file_format", FORMATS)
def test_only_a_dataset_error_comes_out_of_a_manifest(file_format: str) -> None:
    bucket = MemoryS3()
    uri = report(bucket, file_format)
    valid = bucket.documents[MANIFEST]

    @fuzz
    @given(body=damaged(valid) | st.binary(max_size=200))
    def read_manifest(body: bytes) -> None:
        bucket.documents[MANIFEST] = body
        with within(seconds=2, megabytes=150):
            read(bucket, uri)

    read_manifest()

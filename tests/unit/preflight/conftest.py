from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from tests.unit.preflight.services import client

BUCKETS = ("images-of-acme", "models-of-acme")


@pytest.fixture
def s3() -> Iterator[Any]:
    """S3 with the installation's two buckets."""
    with mock_aws():
        made = client("s3")
        for bucket in BUCKETS:
            made.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield made

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.support.changing_endpoints import replace_tags
from tests.unit.evaluation.conftest import clients, runtime, world

__all__ = ["clients", "runtime", "world"]  # fixtures: shades of grey, and an endpoint that tells them apart


@pytest.fixture(scope="session")
def client() -> Any:
    """One client for all tests: reading SageMaker's service model takes half a second."""
    return boto3.client(
        "sagemaker", region_name="eu-central-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )


@pytest.fixture
def sagemaker(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    replace_tags(monkeypatch)
    with mock_aws():
        yield client

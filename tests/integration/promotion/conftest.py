from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from include.settings import Settings
from tests.support.local_aws import RunningLocalAws, scripted_local_aws
from tests.support.running_task import SETTINGS
from tests.support.served_models import IMAGE


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    with scripted_local_aws(tmp_path_factory.mktemp("local_aws"), jobs=8) as running:
        yield running


@pytest.fixture
def sagemaker(aws: RunningLocalAws) -> Any:
    return aws.client("sagemaker")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings.from_variable({**SETTINGS, "image_uri": IMAGE})


@pytest.fixture
def pets() -> str:
    """The name of a dataset of this test alone."""
    return f"pets-{uuid4().hex[:8]}"

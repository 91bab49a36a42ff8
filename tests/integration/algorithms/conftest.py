from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.local_aws import RunningLocalAws, start_local_aws


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    running = start_local_aws(tmp_path_factory.mktemp("local_aws"))
    try:
        yield running
    finally:
        running.end()

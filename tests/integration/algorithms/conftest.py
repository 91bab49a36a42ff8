from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.local_aws import ROOT, RunningLocalAws, start_local_aws


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    flowers = f"flowers={ROOT / 'tests' / 'docker' / 'flowers'}"
    running = start_local_aws(tmp_path_factory.mktemp("local_aws"), "--image", flowers)
    try:
        yield running
    finally:
        running.end()

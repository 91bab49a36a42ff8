from __future__ import annotations

from pathlib import Path

import pytest

from containers.image_classification.model_files import UnusableModelError, unpack_model
from tests.fuzz.bounds import within
from tests.support.hostile_archives import HOSTILE, archive


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_with_its_reason_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    body = make()
    channel = tmp_path / "channel"
    channel.mkdir()
    (channel / "model.tar.gz").write_bytes(body)
    with within(seconds=3, megabytes=60), pytest.raises(UnusableModelError) as error:
        unpack_model(channel, tmp_path / "work")
    assert str(error.value).startswith("model.tar.gz cannot be unpacked: ")
    assert reason in str(error.value)
    assert not (tmp_path / "work").exists() or not list((tmp_path / "work").rglob("*.params"))


def test_a_model_is_unpacked_even_if_it_shrinks_well(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(archive(("a.params", 20 << 20)))
    assert (unpack_model(tmp_path, tmp_path / "work") / "a.params").stat().st_size == 20 << 20

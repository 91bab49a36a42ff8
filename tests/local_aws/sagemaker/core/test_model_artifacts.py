from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from local_aws.sagemaker.core.model_artifacts import UnusableArchiveError, unpack_archive
from tests.fuzz.bounds import within
from tests.support.hostile_archives import HOSTILE, archive


def unpack(body: bytes, folder: Path) -> None:
    unpack_archive(io.BytesIO(body), len(body), folder)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_with_its_reason_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    body = make()
    with within(seconds=3, megabytes=60), pytest.raises(UnusableArchiveError) as error:
        unpack(body, tmp_path / "model")
    assert reason in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_model_is_unpacked_even_if_it_shrinks_well(tmp_path: Path) -> None:
    unpack(archive(("a.params", 20 << 20), ("b/symbol.json", 10)), tmp_path)
    assert (tmp_path / "a.params").stat().st_size == 20 << 20
    assert (tmp_path / "b" / "symbol.json").read_bytes() == bytes(10)


def test_a_full_disk_is_not_the_fault_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tarfile.TarFile.extractall", fail)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive(("a", 1)), tmp_path)

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from im2rec.new_files import new_files


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(params=["unnamed", "named"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system with files that have no name yet, and one without."""
    if request.param == "named":
        real = os.open

        def refuse(path, flags, *rest, **more):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "not supported")
            return real(path, flags, *rest, **more)

        monkeypatch.setattr(os, "open", refuse)
    return str(request.param)


def test_files_appear_at_the_end_with_what_was_written(file_system: str, tmp_path: Path) -> None:
    paths = [tmp_path / "a.rec", tmp_path / "a.idx"]
    paths[1].write_bytes(b"old")
    with new_files(paths) as (records, index):
        records.write(b"r" * (20 << 20))
        index.write(b"i")
        assert not paths[0].exists()
        assert paths[1].read_bytes() == b"old"
    assert names(tmp_path) == {"a.rec", "a.idx"}
    assert paths[0].read_bytes() == b"r" * (20 << 20)
    assert paths[1].read_bytes() == b"i"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o666 & ~mask


def test_an_error_leaves_everything_as_it_was(file_system: str, tmp_path: Path) -> None:
    (tmp_path / "a.idx").write_bytes(b"old")
    with pytest.raises(KeyError), new_files([tmp_path / "a.rec", tmp_path / "a.idx"]) as (records, _):
        records.write(b"half")
        raise KeyError
    assert names(tmp_path) == {"a.idx"}
    assert (tmp_path / "a.idx").read_bytes() == b"old"


def test_a_link_keeps_leading_to_its_file(file_system: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.rec").write_bytes(b"old")
    (tmp_path / "a.rec").symlink_to("elsewhere/b.rec")
    with new_files([tmp_path / "a.rec"]) as (records,):
        records.write(b"new")
    assert (tmp_path / "a.rec").is_symlink()
    assert (tmp_path / "elsewhere" / "b.rec").read_bytes() == b"new"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"), new_files([tmp_path / "gone" / "a.rec"]):
        pass

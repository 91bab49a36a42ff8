from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.unpacking.unpack import ArchiveUnpacker
from tests.fuzz.bounds import damaged, fuzz, within
from tests.support.archives import tar_of, zip_of

FILES = {"cats/1.jpg": b"a cat" * 50, "dogs/ü.jpg": bytes(3000), "dogs/" + "long" * 60 + ".jpg": b"PK\x07\x08" * 20}
ZIPS = [
    zip_of(FILES),
    zip_of(FILES, piped=True),
    zip_of(FILES, stored=True, piped=True, zip64=True),
    zip_of({"inner.zip": zip_of(FILES), "x.tar": tar_of(FILES)}, stored=True),
]
TARS = [tar_of(FILES, mode=mode, form=form) for mode in ("w:", "w:gz") for form in (1, 2)]


class MemoryWriter:
    """Takes objects as the writer into S3 does, and forgets them."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def has_seen(self, key: str) -> bool:
        return key in self.keys

    def put(self, key: str, data: bytes) -> None:
        assert isinstance(data, bytes)
        key.encode()
        assert key.startswith("images/")
        assert ".." not in key.split("/")
        self.keys.add(key)

    def withdraw(self, key: str) -> None:
        self.keys.discard(key)


def unpack(archive: bytes) -> None:
    with within(seconds=2, megabytes=150):
        try:
            ArchiveUnpacker(MemoryWriter(), "images/", io.BytesIO()).unpack(io.BytesIO(archive), "s3://b/a.zip")  # type: ignore[arg-type]
        except DatasetError as error:
            assert str(error).startswith("dataset.source = s3://b/a.zip: ")
            assert len(str(error)) < 2000


@fuzz
@given(archive=damaged(*ZIPS))
def test_only_a_dataset_error_comes_out_of_a_zip(archive: bytes) -> None:
    unpack(archive)


@fuzz
@given(archive=damaged(*TARS))
def test_only_a_dataset_error_comes_out_of_a_tar(archive: bytes) -> None:
    unpack(archive)


STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08", b"")


@fuzz
@given(archive=st.tuples(st.sampled_from(STARTS), st.binary(max_size=500)).map(b"".join))
def test_only_a_dataset_error_comes_out_of_anything(archive: bytes) -> None:
    unpack(archive)

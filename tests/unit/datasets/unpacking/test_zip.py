from __future__ import annotations

import io
import random
import stat
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.unpacking.archive import ArchiveError, ForwardReader
from include.datasets.unpacking.zip import ZipMembers
from tests.support.archives import zip_of, zip_with

RANDOM = random.Random(2)
FILES = {
    "cats/1.jpg": RANDOM.randbytes(200_000),
    "cats/empty.jpg": b"",
    "dogs/zeros.png": bytes(3_000_000),
    "dogs/über.jpg": b"PK\x07\x08" * 50 + b"PK\x03\x04",
}


class Dribble(io.BytesIO):
    """Gives few bytes at a time, as networks do."""

    def read(self, amount: int | None = -1, /) -> bytes:
        return super().read(min(amount or 0, 1013))


def members(archive: bytes, limit: int = 1 << 30) -> dict[str, bytes | None]:
    return {member.name: member.read(limit) for member in ZipMembers(Dribble(archive))}


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_members_of_every_kind_are_read(stored: bool, piped: bool, zip64: bool) -> None:
    assert members(zip_of(FILES, stored=stored, piped=piped, zip64=zip64)) == FILES


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_members_that_nobody_reads_are_passed_over(stored: bool, piped: bool) -> None:
    archive = zip_of(FILES, stored=stored, piped=piped)

    assert [member.name for member in ZipMembers(io.BytesIO(archive))] == list(FILES)


@given(st.dictionaries(st.text("abä/", min_size=1).filter(lambda name: not name.endswith("/")), st.binary()))
def test_any_archive_of_the_standard_library_is_read(files: dict[str, bytes]) -> None:
    assert members(zip_of(files)) == files
    assert members(zip_of(files, stored=True, piped=True)) == files


def test_a_bomb_is_not_kept_in_memory_whether_its_size_is_declared_or_not() -> None:
    bomb = {"bomb.png": bytes(5_000_000), "cats/1.jpg": b"an image"}

    for archive in (zip_of(bomb), zip_of(bomb, piped=True), zip_of(bomb, stored=True, piped=True)):
        assert members(archive, limit=1_000_000) == {"bomb.png": None, "cats/1.jpg": b"an image"}


def test_symbolic_links_are_known_at_the_end() -> None:
    link = zipfile.ZipInfo("cats/link.jpg")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    found = ZipMembers(io.BytesIO(zip_with([(zipfile.ZipInfo("cats/1.jpg"), b"image"), (link, b"/etc/passwd")])))

    assert [member.name for member in found] == ["cats/1.jpg", "cats/link.jpg"]
    assert [(name, refusal.status) for name, refusal in found.withdrawn] == [("cats/link.jpg", "link")]


def test_folders_are_no_members() -> None:
    assert members(zip_with([(zipfile.ZipInfo("cats/"), b""), (zipfile.ZipInfo("cats/1.jpg"), b"image")])) == {
        "cats/1.jpg": b"image"
    }


def test_names_that_are_no_utf_8_are_those_of_dos() -> None:
    archive = zip_of({"caf_.jpg": b"image"}).replace(b"caf_.jpg", b"caf\x82.jpg")

    assert members(archive) == {"café.jpg": b"image"}


@pytest.mark.parametrize("cut", [10, 150_000, 200_100, -1, -20, -60, -200])
def test_an_archive_that_is_cut_off_is_an_error_wherever(cut: int) -> None:
    with pytest.raises(ArchiveError, match="cut off"):
        members(zip_of(FILES)[:cut])


def test_a_flipped_bit_is_an_error_that_names_member_and_byte() -> None:
    archive = bytearray(zip_of(FILES, stored=True))
    archive[1000] ^= 1

    with pytest.raises(ArchiveError, match="its bytes have the checksum") as error:
        members(bytes(archive))

    assert error.value.member == "cats/1.jpg"
    assert error.value.offset >= 200_000


def test_damage_in_compressed_data_is_an_error() -> None:
    archive = bytearray(zip_of({"a.txt": b"words and words " * 1000}))
    archive[40:60] = bytes(20)

    with pytest.raises(ArchiveError) as error:
        members(bytes(archive))
    assert error.value.member == "a.txt"


def test_encrypted_members_are_an_error() -> None:
    archive = bytearray(zip_of({"cats/1.jpg": b"image"}))
    archive[6] |= 1

    with pytest.raises(ArchiveError, match="encrypted: pack the archive without a password"):
        members(bytes(archive))


def test_a_compression_that_is_not_known_leaves_its_members_out() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("cats/1.jpg", b"image")
        archive.writestr("cats/2.jpg", b"image", zipfile.ZIP_DEFLATED)
    refusals = [member.refusal for member in ZipMembers(io.BytesIO(sink.getvalue()))]

    assert refusals[0] is not None
    assert (refusals[0].status, refusals[1]) == ("unsupported", None)


def test_a_member_that_the_directory_does_not_have_is_an_error() -> None:
    one, two = zip_of({"a.jpg": b"1"}), zip_of({"b.jpg": b"2"})
    hidden = one[: one.index(b"PK\x01\x02")] + two

    with pytest.raises(ArchiveError, match="directory"):
        members(hidden)


def test_data_full_of_signatures_take_time_by_their_length_only(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = 0
    some = ForwardReader.some

    def counted(reader: ForwardReader, amount: int = 1 << 20) -> bytes:
        nonlocal copied
        piece = some(reader, amount)
        copied += len(piece)
        return piece

    monkeypatch.setattr(ForwardReader, "some", counted)
    data = b"PK\x07\x08" * 25_000
    assert members(zip_of({"a.bin": data}, stored=True, piped=True)) == {"a.bin": data}
    assert copied < 40 * len(data)


@pytest.mark.parametrize("piped", [False, True])
def test_many_small_members_take_time_by_their_length_only(piped: bool, given_back: list[int]) -> None:
    files = {f"{number}.txt": b"image" for number in range(5000)}
    archive = zip_of(files, piped=piped)

    assert {member.name: member.read(100) for member in ZipMembers(io.BytesIO(archive))} == files
    assert sum(given_back) < 100 * len(archive)


@pytest.mark.parametrize("size", [1, 15, 16, 23, 24, 25, 1012, 1013, 1014, 2026])
def test_a_descriptor_is_found_wherever_a_read_ends(size: int) -> None:
    files = {"a.bin": b"PK\x07\x08"[: size % 5] + b"x" * size + b"PK\x07\x08", "b.bin": b"PK"}
    assert members(zip_of(files, stored=True, piped=True)) == files

from __future__ import annotations

import gzip
import io
import random
import tarfile

import pytest

from include.datasets.unpacking.archive import ArchiveError
from include.datasets.unpacking.tar import TarMembers
from tests.support.archives import tar_of

FILES = {
    "./cats/1.jpg": random.Random(3).randbytes(200_000),
    "cats/empty.jpg": b"",
    "dogs/" + "long " * 60 + "ü.jpg": b"image" * 512,
    "dogs/2.jpg": bytes(512),
}


def members(archive: bytes, limit: int = 1 << 30) -> dict[str, bytes | None]:
    found = TarMembers(io.BytesIO(archive), compressed=archive.startswith(b"\x1f\x8b"))
    return {member.name: member.read(limit) for member in found}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w:", "w:gz"])
def test_members_of_every_format_are_read(mode: str, form: int) -> None:
    files = {name: body for name, body in FILES.items() if len(name) < 100 or form != tarfile.USTAR_FORMAT}

    assert members(tar_of(files, mode=mode, form=form)) == files


def test_members_that_nobody_reads_are_passed_over() -> None:
    assert [member.name for member in TarMembers(io.BytesIO(tar_of(FILES)), compressed=True)] == list(FILES)


def test_a_bomb_is_not_kept_in_memory() -> None:
    assert members(tar_of({"bomb.png": bytes(5_000_000), "1.jpg": b"image"}), limit=1_000_000) == {
        "bomb.png": None,
        "1.jpg": b"image",
    }


def test_gzip_in_several_parts_is_one_archive() -> None:
    plain = tar_of(FILES, mode="w:")

    assert members(gzip.compress(plain[:70_000]) + gzip.compress(plain[70_000:])) == FILES


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "special_file"),
        (tarfile.FIFOTYPE, "special_file"),
    ],
)
def test_what_is_no_file_is_refused(kind: bytes, status: str) -> None:
    info = tarfile.TarInfo("cats/odd.jpg")
    info.type, info.linkname = kind, "/etc/passwd"
    (member,) = TarMembers(io.BytesIO(tar_of({}, others=[info])), compressed=True)

    assert member.refusal is not None
    assert member.refusal.status == status


def test_names_that_are_no_utf_8_are_read_as_latin_1() -> None:
    info = tarfile.TarInfo("caf\udce9.jpg")
    archive = tar_of({}, others=[info], mode="w:", form=tarfile.GNU_FORMAT)
    assert [member.name for member in TarMembers(io.BytesIO(archive), compressed=False)] == ["café.jpg"]


@pytest.mark.parametrize("mode", ["w:", "w:gz"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.98])
def test_an_archive_that_is_cut_off_is_an_error_wherever(mode: str, part: float) -> None:
    archive = tar_of(FILES, mode=mode)
    cut = int(len(archive.rstrip(b"\0")) * part)

    with pytest.raises(ArchiveError):
        members(archive[:cut])


def test_an_archive_cut_off_between_two_members_is_an_error() -> None:
    archive = tar_of({"a.jpg": bytes(512), "b.jpg": bytes(512)}, mode="w:")

    with pytest.raises(ArchiveError, match="cut off") as error:
        members(archive[:1024])
    assert (error.value.member, error.value.offset) == ("a.jpg", 1024)


def test_a_damaged_header_in_the_middle_is_an_error_and_not_the_end() -> None:
    archive = bytearray(tar_of({"a.jpg": bytes(512), "b.jpg": bytes(512)}, mode="w:"))
    archive[1024 + 10] ^= 1

    with pytest.raises(ArchiveError, match="not a header"):
        members(bytes(archive))


def test_a_wrong_checksum_of_gzip_is_an_error() -> None:
    archive = bytearray(tar_of(FILES))
    archive[-8] ^= 1

    with pytest.raises(ArchiveError, match="incorrect data check"):
        members(bytes(archive))


def test_a_header_that_asks_for_all_the_memory_is_an_error() -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    archive = info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000)

    with pytest.raises(ArchiveError, match="a header of"):
        members(archive)


def sparse_map_of(kind: str) -> bytes:
    """A header that goes on for four megabytes, in pieces that are small each."""
    info = tarfile.TarInfo("cats/1.jpg")
    if kind == "old":
        info.type = tarfile.GNUTYPE_SPARSE
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        block[386:482], block[482] = b"00000000001\0" * 8, 1
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block) + (b"77777777777\0" * 42 + b"\1" + bytes(7)) * (1 << 13) + bytes(2048)
    body = b"2000000\n" + b"0\n" * 2_000_000
    info.size = len(body)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
    return info.tobuf(tarfile.PAX_FORMAT) + body + bytes(2048)


@pytest.mark.parametrize("kind", ["old", "1.0"])
def test_a_header_that_goes_on_for_all_the_memory_is_an_error(kind: str) -> None:
    with pytest.raises(ArchiveError, match="a header of 1049088 bytes") as error:
        members(gzip.compress(sparse_map_of(kind), 1))
    assert error.value.offset < 2 << 20


def test_global_headers_that_fill_the_memory_one_after_the_other_are_an_error() -> None:
    archive = b""
    for number in range(150):
        archive += tarfile.TarInfo.create_pax_global_header({f"key{number}": "value"})
        archive += tarfile.TarInfo(f"{number}.jpg").tobuf(tarfile.GNU_FORMAT)

    with pytest.raises(ArchiveError, match="more than 100 values for all its members") as error:
        members(archive + bytes(1024))
    assert error.value.member == "99.jpg"


def test_tiny_parts_of_gzip_take_time_by_their_length_only(given_back: list[int]) -> None:
    plain = tar_of({"1.jpg": b"image"}, mode="w:")
    archive = gzip.compress(b"") * 20_000 + gzip.compress(plain)

    assert members(archive) == {"1.jpg": b"image"}
    assert sum(given_back) < 400 * len(archive)


def test_an_appended_archive_is_an_error_and_not_overlooked() -> None:
    with pytest.raises(ArchiveError, match="another archive was appended"):
        members(tar_of({"a.jpg": b"1"}, mode="w:") + tar_of({"b.jpg": b"2"}, mode="w:"))

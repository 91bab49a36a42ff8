from __future__ import annotations

import gzip
import io
import json
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.objects import ObjectWriter, StoredObjects
from include.datasets.unpacking import archive as archive_members
from include.datasets.unpacking import unpack as unpacking_archive
from include.datasets.unpacking.archive import ArchiveError, ExpansionLimits, Refusal, TarMembers, member_path
from include.datasets.unpacking.unpack import ArchiveUnpacker
from tests.support.archives import tar_of, zip_of, zip_with
from tests.support.dataset_bucket import Bucket

Unpack = Callable[..., dict[str, str]]


@pytest.fixture
def unpack(bucket: Bucket) -> Unpack:
    """Unpack an archive and return the status of each member that was left out."""

    def run(archive: bytes, limits: ExpansionLimits | None = None) -> dict[str, str]:
        lines = io.BytesIO()
        stored = StoredObjects(bucket.s3, bucket.name, "images/")
        with ObjectWriter(bucket.s3, stored) as writer:
            unpacker = ArchiveUnpacker(writer, "images/", lines, limits=limits)
            unpacker.unpack(io.BytesIO(archive), "https://server/a.zip")
        writer.remove_others()
        listed: list[dict[str, Any]] = [json.loads(line) for line in lines.getvalue().splitlines()]
        assert sum(unpacker.left_out.values()) == len(listed)
        assert all(line["reason"] for line in listed)
        return {line["path"]: line["status"] for line in listed}

    return run


HOSTILE = {
    "/etc/passwd": "unsafe_path",
    "../../outside.jpg": "unsafe_path",
    "cats/../../outside.jpg": "unsafe_path",
    "..\\outside.jpg": "unsafe_path",
    "C:\\windows\\1.jpg": "unsafe_path",
    "cats/" + "long" * 260 + ".jpg": "unsafe_path",
    "__MACOSX/cats/._1.jpg": "system_file",
    "cats/.DS_Store": "system_file",
    "dogs/Thumbs.db": "system_file",
    "cats/./1.jpg": "duplicate_path",
}
GOOD = {"cats/1.jpg": b"a cat", "dogs\\2.jpg": b"a dog", "dogs//ä \t\n3.jpg": b"", "x/a..jpg": b"dots"}
KEYS = ["images/cats/1.jpg", "images/dogs/2.jpg", "images/dogs/ä \t\n3.jpg", "images/x/a..jpg"]


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_paths_are_never_trusted(unpack: Unpack, bucket: Bucket, pack: Callable[..., bytes]) -> None:
    left_out = unpack(pack({**GOOD, **dict.fromkeys(HOSTILE, b"hostile")}))

    assert left_out == HOSTILE
    assert sorted(bucket.listing("")) == KEYS
    assert bucket.get("images/cats/1.jpg") == b"a cat"


def test_links_and_devices_are_left_out(unpack: Unpack, bucket: Bucket) -> None:
    link, pipe = tarfile.TarInfo("cats/link.jpg"), tarfile.TarInfo("cats/pipe.jpg")
    link.type, link.linkname, pipe.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.FIFOTYPE

    assert unpack(tar_of(GOOD, others=[link, pipe])) == {"cats/link.jpg": "link", "cats/pipe.jpg": "special_file"}
    assert len(bucket.listing("")) == 4


def test_a_link_that_only_the_directory_of_a_zip_tells_does_not_stay(unpack: Unpack, bucket: Bucket) -> None:
    link = zipfile.ZipInfo("cats/link.jpg")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16

    assert unpack(zip_with([(zipfile.ZipInfo("cats/1.jpg"), b"cat"), (link, b"/etc")])) == {"cats/link.jpg": "link"}
    assert bucket.listing("") == ["images/cats/1.jpg"]


@pytest.mark.parametrize("pack", [zip_of, tar_of, lambda files: zip_of(files, piped=True)])
def test_a_bomb_is_left_out_with_its_reason(
    unpack: Unpack, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, pack: Callable[..., bytes]
) -> None:
    monkeypatch.setattr(unpacking_archive, "LARGEST_MEMBER", 1 << 20)

    assert unpack(pack({"cats/bomb.png": bytes(5 << 20), **GOOD})) == {"cats/bomb.png": "too_large"}
    assert len(bucket.listing("")) == 4


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it has no bytes"),
        (b"<!DOCTYPE html><html>Sign in", "a web page, as of a sign-in"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\xff\xd8\xff\xe0" * 200, "it begins with ff d8 ff e0 ff d8 ff e0"),
    ],
)
def test_what_is_no_archive_is_told_apart(unpack: Unpack, content: bytes, what: str) -> None:
    with pytest.raises(DatasetError, match=rf"dataset\.source = https://server/a\.zip: {what}, no zip, tar or tar.gz"):
        unpack(content)


def test_damage_names_address_byte_member_and_remedy(unpack: Unpack) -> None:
    place = r"dataset\.source = https://server/a\.zip: .*\(byte \d+, in or after 'x/a\.\.jpg'\)"
    with pytest.raises(DatasetError, match=f"{place}: repair"):
        unpack(zip_of(GOOD)[:-5])


def test_an_archive_without_the_magic_of_later_tars_is_read(unpack: Unpack, bucket: Bucket) -> None:
    block = bytearray(tarfile.TarInfo("cats/1.jpg").tobuf(tarfile.USTAR_FORMAT))
    block[257:] = bytes(255)
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))

    assert unpack(bytes(block) + bytes(1024)) == {}
    assert bucket.listing("") == ["images/cats/1.jpg"]


def test_a_path_says_where_a_member_belongs() -> None:
    assert member_path("./a//b/./c.jpg") == "a/b/c.jpg"
    assert isinstance(member_path("./"), Refusal)


PACKS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "a zip": zip_of,
    "a zip that tells sizes behind the data": lambda files: zip_of(files, piped=True),
    "a tar.gz": tar_of,
}
FOUR = {f"cats/{number}.bmp": bytes(400_000) for number in range(4)}


@pytest.mark.parametrize("how", PACKS)
def test_an_archive_whose_members_together_expand_too_far_is_refused_with_figures(
    unpack: Unpack, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(archive_members, "SMALL_EXPANSION", 1_000_000)
    with pytest.raises(
        DatasetError,
        match=r"expands to 0\.00 GB and more, from 0\.0 MB so far, and an archive may expand to 100 times its size "
        r"\(byte \d+.*\): split it, or raise archive_max_ratio in the Airflow Variable `image_classification`",
    ):
        unpack(PACKS[how](FOUR))
    assert unpack(PACKS[how](FOUR), ExpansionLimits(ratio=2000)) == {}


@pytest.mark.parametrize("how", [*PACKS, "a tar"])
def test_an_archive_larger_than_the_installation_allows_is_refused_whatever_its_ratio(unpack: Unpack, how: str) -> None:
    pack = {**PACKS, "a tar": lambda files: tar_of(files, mode="w:")}[how]
    with pytest.raises(DatasetError, match=r"an archive may expand to 0\.00 GB .*raise archive_max_gb"):
        unpack(pack(FOUR), ExpansionLimits(total=1_500_000))
    assert unpack(pack(FOUR), ExpansionLimits(total=1_700_000)) == {}


@pytest.mark.parametrize("how", PACKS)
def test_members_that_are_left_out_count_too(unpack: Unpack, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(archive_members, "SMALL_EXPANSION", 1_000_000)
    monkeypatch.setattr(unpacking_archive, "LARGEST_MEMBER", 100_000)
    limits = ExpansionLimits(ratio=100)
    if how == "a zip":  # what it declares as too large is not expanded at all
        assert set(unpack(PACKS[how](FOUR), limits).values()) == {"too_large"}
    else:
        with pytest.raises(DatasetError, match="archive_max_ratio"):
            unpack(PACKS[how](FOUR), limits)


def test_a_member_that_declares_too_much_is_refused_before_a_byte_of_it_is_made(
    unpack: Unpack, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_members, "SMALL_EXPANSION", 100_000)
    monkeypatch.setattr(archive_members.Expansion, "grow", lambda *_, **__: pytest.fail("it was expanded"))
    with pytest.raises(DatasetError, match="archive_max_ratio"):
        unpack(zip_of({"cats/1.bmp": bytes(400_000)}))
    assert bucket.listing("") == []


def test_pictures_that_hardly_compress_pass_at_any_size(unpack: Unpack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_members, "SMALL_EXPANSION", 1000)
    photographs = {f"cats/{number}.jpg": random.Random(number).randbytes(50_000) for number in range(4)}
    for pack in PACKS.values():
        assert unpack(pack(photographs), ExpansionLimits(ratio=2)) == {}


def test_headers_in_a_chain_without_end_are_damage_and_no_traceback(unpack: Unpack) -> None:
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 512
    block = long_name.tobuf(tarfile.GNU_FORMAT) + b"a" * 511 + b"\0"
    with pytest.raises(DatasetError, match=r"https://server/a\.zip: it is nested too deep"):
        unpack(block * 3000)


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

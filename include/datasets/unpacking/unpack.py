"""Unpack what `dataset.source` names, archives and finished record files, to objects: once for each content.

The content is read as a stream and never touches a disk. Nothing in an archive is trusted: a member that may not or
cannot become an object is listed with its reason. `docs/reference/sources.md` describes what becomes of it.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow.parquet as pq

from include.datasets.errors import DatasetError
from include.datasets.labels import read_labels_file
from include.datasets.layout import (
    SPLIT_NAMES,
    Fingerprint,
    Split,
    UnpackedLayout,
    UnpackedRecords,
    UnpackedSource,
    find_unpacked,
)
from include.datasets.objects import ObjectSink, ObjectWriter, StoredObjects
from include.datasets.unpacking.addresses import DEFAULT_POLICY, SourcePolicy, open_remote, packed_addresses
from include.datasets.unpacking.archive import (
    DUPLICATE,
    LARGEST_MEMBER,
    LONGEST_KEY,
    TOO_LARGE,
    UNSAFE,
    ArchiveError,
    Expansion,
    ExpansionLimits,
    ForwardReader,
    Member,
    Refusal,
    TarMembers,
    member_path,
)
from include.datasets.unpacking.byte_stream import ByteStream, Remote, look_at
from include.datasets.unpacking.record_files import RecordsUnpacker, parquet, with_names
from include.datasets.unpacking.zip import END, LOCAL, ZipMembers
from include.recordio.format import BinarySink, BinarySource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

log = logging.getLogger(__name__)

REPORT_SECONDS = 10.0
LOOKS_AT_ONCE = 16
SHOWN = 5
OTHER_STARTS = {
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "compressed by bzip2",
    b"\xfd7zX": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
}


def addresses_to_unpack(
    s3: S3Client, conf: DatasetConf, data_bucket: str, policy: SourcePolicy = DEFAULT_POLICY
) -> list[str]:
    """Those whose content was not unpacked yet, or has changed since; one HEAD for each.

    Raises DatasetError for the first that cannot be read.
    """
    names = _class_names(s3, conf)

    def is_outdated(address: str) -> bool:
        place = UnpackedLayout(data_bucket, conf.name, address)
        known, fingerprint = find_unpacked(s3, place), look_at(open_remote(s3, place, policy))
        return known is None or not known.is_of(fingerprint) or _has_other_names(known, names)

    addresses = packed_addresses(conf)
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        outdated = list(pool.map(is_outdated, addresses))
    return [address for address, is_new in zip(addresses, outdated, strict=True) if is_new]


def unpack_sources(s3: S3Client, conf: DatasetConf, data_bucket: str, policy: SourcePolicy = DEFAULT_POLICY) -> None:
    """Unpack one after the other what `addresses_to_unpack` names. Raises DatasetError."""
    for address in addresses_to_unpack(s3, conf, data_bucket, policy):
        unpack_address(s3, conf, address, data_bucket, policy)


def unpack_address(
    s3: S3Client, conf: DatasetConf, address: str, data_bucket: str, policy: SourcePolicy = DEFAULT_POLICY
) -> UnpackedSource:
    """Unpack an archive or a record file into the data bucket.

    Repeated after a kill or a failure it writes only what is missing or differs; if the content is the one that was
    unpacked before it reads nothing. Members that the content no longer has are deleted. Raises DatasetError if the
    address cannot be read, or what it leads to is damaged: then there is no `unpacked.json`.
    """
    place = UnpackedLayout(data_bucket, conf.name, address)
    names = _class_names(s3, conf) if place.kind == "records" else []
    remote = open_remote(s3, place, policy)
    fingerprint = look_at(remote)
    known = find_unpacked(s3, place)
    if known is not None and known.is_of(fingerprint):
        if not _has_other_names(known, names):
            log.info("%s was unpacked before: its %s objects are taken", place.shown, known.objects)
            return known
        if known.records is not None and _fit(known.records, names):
            return _renamed(s3, place, known, known.records, names)
    if known is not None:
        s3.delete_object(Bucket=place.bucket, Key=place.document)
    unpacked = _unpack(s3, place, remote, fingerprint, names, limits=policy.limits)
    s3.put_object(Bucket=place.bucket, Key=place.document, Body=unpacked.model_dump_json(indent=1).encode())
    return unpacked


def _unpack(
    s3: S3Client,
    place: UnpackedLayout,
    remote: Remote,
    fingerprint: Fingerprint,
    names: Sequence[str],
    *,
    limits: ExpansionLimits,
) -> UnpackedSource:
    stored = StoredObjects(s3, place.bucket, place.images).list_all()
    records: UnpackedRecords | None = None
    left_out: Counter[str] = Counter()
    with ByteStream(remote) as stream, ObjectWriter(s3, stored) as writer:
        progress = _Progress(stream, writer, fingerprint.size)
        with ObjectSink(s3, place.bucket, place.left_out) as sink:
            if place.kind == "records":
                unpacker = RecordsUnpacker(writer, place.images, names, sink, step=progress.step)
                unpacker.unpack(stream, place.shown)
                left_out = unpacker.left_out
            else:
                archive = ArchiveUnpacker(writer, place.images, sink, limits=limits, step=progress.step)
                archive.unpack(stream, place.shown)
                left_out = archive.left_out
    if place.kind == "records":
        split = _split_of(place.address)
        records = unpacker.summary(split)
        body = parquet(unpacker.table(place.bucket, split))
        s3.put_object(Bucket=place.bucket, Key=place.labels, Body=body)
    if not writer.count:
        raise DatasetError(
            f"dataset.source = {place.shown} has no file that can be unpacked (left out: {dict(left_out) or 'none'}; "
            f"see s3://{place.bucket}/{place.left_out}): pack images in class folders"
        )
    removed = writer.remove_others()
    progress.tell()
    log.info("%s: %s objects written, %s kept, %s removed", place.shown, writer.written, writer.kept, removed)
    return UnpackedSource(
        address=place.shown,
        fingerprint=fingerprint,
        objects=writer.count,
        bytes=writer.bytes,
        left_out=dict(left_out),
        records=records,
    )


def _class_names(s3: S3Client, conf: DatasetConf) -> list[str]:
    """The names behind the class indices of record files: `labels_file`, else `labels`; none for numbers.

    A version whose classes have no names calls them by their index: such labels are not names.
    """
    if conf.source_kind != "records":
        return []
    names = read_labels_file(s3, conf.labels_file) if conf.labels_file else list(conf.labels)
    return [] if all(name.isdecimal() for name in names) else names


def _has_other_names(known: UnpackedSource, names: Sequence[str]) -> bool:
    return known.records is not None and known.records.names != list(names)


def _fit(records: UnpackedRecords, names: Sequence[str]) -> bool:
    """Whether the names are enough without reading the records again."""
    if records.label_width > 1:
        return not names or len(names) == records.label_width
    # Which indices occur is known only where they are the names.
    return not records.names and all(int(index) < len(names) for index in records.classes)


def _renamed(
    s3: S3Client, place: UnpackedLayout, known: UnpackedSource, records: UnpackedRecords, names: Sequence[str]
) -> UnpackedSource:
    table = pq.read_table(BytesIO(s3.get_object(Bucket=place.bucket, Key=place.labels)["Body"].read()))
    classes = list(names) or [str(index) for index in range(records.label_width)]
    renamed = known.model_copy(
        update={"records": records.model_copy(update={"names": list(names), "classes": classes})}
    )
    s3.delete_object(Bucket=place.bucket, Key=place.document)
    s3.put_object(Bucket=place.bucket, Key=place.labels, Body=parquet(with_names(table, names)))
    s3.put_object(Bucket=place.bucket, Key=place.document, Body=renamed.model_dump_json(indent=1).encode())
    log.info("%s was unpacked before: its classes have other names now", place.shown)
    return renamed


def _split_of(address: str) -> Split | None:
    """The split that the stem of a file's name ends in, as in `caltech-256-60-train.rec`; None if it names none."""
    path = urlsplit(address).path if address.startswith("http") else address
    stem = path.rpartition("/")[2].rpartition(".")[0].lower()
    return SPLIT_NAMES.get(re.split(r"[^a-z]", stem)[-1])


class ArchiveUnpacker:
    """Writes each member of an archive under `prefix`; `left_out` takes a JSON line for each that is not.

    `step` is called for every member.
    """

    def __init__(
        self,
        writer: ObjectWriter,
        prefix: str,
        left_out: BinarySink,
        *,
        limits: ExpansionLimits | None = None,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self._writer = writer
        self._prefix = prefix
        self._list = left_out
        self._limits = limits or ExpansionLimits()
        self._step = step
        self.left_out: Counter[str] = Counter()

    def unpack(self, source: BinarySource, shown: str) -> None:
        """Read the archive to its end.

        Raises DatasetError that names `shown`, the byte and the member where it is damaged, cut off or encrypted, or
        expands beyond its limits.
        """
        try:
            members = _open(ForwardReader(source), shown, Expansion(self._limits))
            for member in members:
                refusal = self._unpack(member)
                if refusal is not None:
                    self._leave_out(member.name, refusal)
                self._step()
            if isinstance(members, ZipMembers):
                self._withdraw(members)
        except ArchiveError as error:
            member_shown = f", in or after {error.member!r}" if error.member else ""
            raise DatasetError(
                f"dataset.source = {shown}: {error.reason} (byte {error.offset}{member_shown}): {error.remedy}"
            ) from error
        if self.left_out:
            log.warning("%s: left out %s", shown, dict(self.left_out))

    def _unpack(self, member: Member) -> Refusal | None:
        path = member_path(member.name)
        if isinstance(path, Refusal):
            return path
        if member.refusal is not None:
            return member.refusal
        key = f"{self._prefix}{path}"
        if len(key.encode()) > LONGEST_KEY:
            return Refusal(UNSAFE, f"its path gives a key of {len(key.encode())} bytes, S3 takes {LONGEST_KEY}")
        if self._writer.has_seen(key):
            return Refusal(DUPLICATE, "a member before it has the same path")
        data = member.read(LARGEST_MEMBER)
        if data is None:
            size = "more" if member.size is None else f"{member.size}"
            return Refusal(TOO_LARGE, f"it expands to {size} bytes, a record may have {LARGEST_MEMBER}")
        self._writer.put(key, data)
        return None

    def _withdraw(self, members: ZipMembers) -> None:
        for name, refusal in members.withdrawn:
            path = member_path(name)
            if isinstance(path, str) and self._writer.has_seen(f"{self._prefix}{path}"):
                self._writer.withdraw(f"{self._prefix}{path}")
                self._leave_out(name, refusal)

    def _leave_out(self, name: str, refusal: Refusal) -> None:
        self.left_out[refusal.status] += 1
        if self.left_out[refusal.status] <= SHOWN:
            log.info("Left out %r: %s", name, refusal.reason)
        line = {"path": name, "status": refusal.status, "reason": refusal.reason}
        self._list.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def _open(source: ForwardReader, shown: str, expansion: Expansion) -> Iterable[Member]:
    start = source.peek(512)
    if start.startswith((LOCAL, END)):
        return ZipMembers(source, expansion)
    if start.startswith(b"\x1f\x8b"):
        return TarMembers(source, expansion, compressed=True)
    if start[257:262] == b"ustar" or _is_old_tar(start):
        return TarMembers(source, expansion, compressed=False)
    raise DatasetError(
        f"dataset.source = {shown}: {_what(start)}, no zip, tar or tar.gz archive: pack it as one of these, or name "
        "the address of the archive itself"
    )


def _is_old_tar(block: bytes) -> bool:
    """Tell a tar header without its magic by its checksum (POSIX 1003.1, ustar interchange format)."""
    try:
        wanted = int(block[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return wanted == sum(block[:148]) + 8 * 32 + sum(block[156:512])


def _what(start: bytes) -> str:
    if not start:
        return "it has no bytes"
    if start.lstrip()[:1] == b"<":
        return "a web page, as of a sign-in"
    known = next((what for magic, what in OTHER_STARTS.items() if start.startswith(magic)), None)
    return known or f"it begins with {start[:8].hex(' ')}"


class _Progress:
    def __init__(self, stream: ByteStream, writer: ObjectWriter, size: int | None) -> None:
        self._stream = stream
        self._writer = writer
        self._size = size
        self._started = self._told = time.monotonic()

    def step(self) -> None:
        if time.monotonic() - self._told >= REPORT_SECONDS:
            self.tell()

    def tell(self) -> None:
        self._told = time.monotonic()
        seconds = max(self._told - self._started, 1e-6)
        read, size = self._stream.offset, self._size
        left = f", {(size - read) * seconds / read:.0f} s left" if size and read and size > read else ""
        log.info(
            "%s: %s objects (%.0f/s), %.1f of %s MB read (%.1f MB/s)%s",
            self._stream.remote.shown,
            self._writer.count,
            self._writer.count / seconds,
            read / 1e6,
            f"{size / 1e6:.1f}" if size else "?",
            read / 1e6 / seconds,
            left,
        )

"""Real archives and record files, made in memory."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence

from include.recordio.format import RecordWriter, encode_image_record

Files = Mapping[str, bytes]


class Unseekable(io.RawIOBase):
    """A pipe: zipfile then tells sizes behind the data."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.written += data
        return len(data)


def zip_of(files: Files, *, stored: bool = False, piped: bool = False, zip64: bool = False) -> bytes:
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    sink: io.BytesIO | Unseekable = Unseekable() if piped else io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, body in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=zip64) as member:
                member.write(body)
    return bytes(sink.written) if isinstance(sink, Unseekable) else sink.getvalue()


def zip_with(entries: Iterable[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, body in entries:
            archive.writestr(info, body)
    return sink.getvalue()


def tar_of(files: Files, *, mode: str = "w:gz", others: Sequence[tarfile.TarInfo] = (), form: int = 1) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode, format=form, encoding="utf-8") as archive:  # type: ignore[call-overload]
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
        for info in others:
            archive.addfile(info)
    return sink.getvalue()


def rec_of(records: Sequence[tuple[Sequence[float], bytes]], *, first_id: int = 100) -> bytes:
    sink = io.BytesIO()
    writer = RecordWriter(sink)
    for number, (labels, image) in enumerate(records, start=first_id):
        writer.write(number, encode_image_record(labels, number, image))
    return sink.getvalue()

"""A contact sheet of a version: a few of its packed images, read one by one out of its record files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from include.datasets.layout import Split, VersionLayout
from include.datasets.objects import open_store
from include.datasets.report.report_figures import Integers, PackedImages
from include.recordio.format import RecordError, decode_image_record, read_records
from include.recordio.images import ImageError, accept_image, decode_accepted
from include.recordio.memory import DecodingMemory, decoding_bytes
from include.recordio.options import ImageOptions

if TYPE_CHECKING:
    from cv2.typing import MatLike
    from mypy_boto3_s3 import S3Client

IMAGES = 60
PER_CLASS = 8
SIDE = 96
"""Longest side of a thumbnail in pixels."""
QUALITY = 80
LARGEST_RECORD = 4 << 20
SHEET_BYTES = 16 << 20
"""Bytes that are read for a sheet at most; of larger images it shows fewer."""
MOST_PIXELS = 50_000_000
"""An image of more pixels is not decoded for a thumbnail."""
READERS = 8
_AS_SMALL_AS_POSSIBLE = ImageOptions(resize=SIDE, fast_decode=True)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A packed image made small, with what the manifest says of it."""

    uri: str
    """The source object."""
    labels: tuple[str, ...]
    split: Split
    width: int
    height: int
    jpeg: bytes
    """Empty where the record cannot be read."""
    trouble: str = ""


def contact_sheet(s3: S3Client, layout: VersionLayout, packed: PackedImages, classes: int) -> list[Thumbnail]:
    """Read up to IMAGES of a version's images, of as many classes as possible; the same version gives the same sheet.

    Each is one ranged GET of its record. A record that cannot be read becomes a thumbnail without a picture.
    """
    chosen = choose_images(packed, classes)
    columns = ["bucket", "key", "labels", "split", "width", "height", "offset"]
    rows = packed.rows.select(columns).take(chosen).to_pylist()
    lengths = packed.record_bytes[chosen].tolist()
    store = open_store(s3, layout.bucket)
    memory = DecodingMemory()

    def read(place: int) -> Thumbnail:
        row = rows[place]
        start, end = row["offset"], row["offset"] + lengths[place]
        record = bytes(store.get_range(layout.records(row["split"]), start=start, end=end))
        size = row["width"] or 0, row["height"] or 0
        try:
            jpeg, trouble = thumbnail(record, memory), ""
        except (RecordError, ImageError) as error:
            jpeg, trouble = b"", str(error)
        return Thumbnail(f"s3://{row['bucket']}/{row['key']}", tuple(row["labels"]), row["split"], *size, jpeg, trouble)

    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(read, range(len(rows))))


def choose_images(packed: PackedImages, classes: int) -> list[int]:
    """Rows to show, class after class: from evenly spaced classes where there are many, evenly spaced within each."""
    pixels = np.maximum(packed.pixels("width"), 1) * np.maximum(packed.pixels("height"), 1)
    fitting = (packed.record_bytes <= LARGEST_RECORD) & (pixels <= MOST_PIXELS)
    shown = fitting[packed.label_rows]
    codes, owners = packed.label_codes[shown], packed.label_rows[shown]
    by_class = owners[np.argsort(codes, kind="stable")]
    bounds = np.append(0, np.cumsum(np.bincount(codes, minlength=classes)))
    occupied = np.flatnonzero(np.diff(bounds))
    each = min(max(IMAGES // max(len(occupied), 1), 1), PER_CLASS)
    chosen: dict[int, None] = {}
    for code in _spread(occupied, IMAGES):
        chosen |= dict.fromkeys(_spread(by_class[bounds[code] : bounds[code + 1]], each))
    rows = list(chosen)
    while sum(packed.record_bytes[rows].tolist()) > SHEET_BYTES:
        rows = rows[::2]
    return rows


def thumbnail(record: bytes, memory: DecodingMemory) -> bytes:
    """Make a small JPEG of a record's image. Raises RecordError and ImageError where it holds none."""
    framed = next(read_records(record), None)
    if framed is None:
        raise RecordError("the record file ends before the record")
    pixels = _decode(decode_image_record(framed.payload).image, memory)
    height, width = pixels.shape[:2]
    if max(height, width) > SIDE:
        scale = SIDE / max(height, width)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _decode(image: bytes, memory: DecodingMemory) -> MatLike:
    header = accept_image(image)
    part = _AS_SMALL_AS_POSSIBLE.reduction(header)
    with memory.take(decoding_bytes(header, part=part)):
        return decode_accepted(image, part=part)


def _spread(values: Integers, number: int) -> list[int]:
    """So many of the values, evenly spaced; all of them where there are fewer."""
    count = min(number, len(values))
    return [int(values[(2 * place + 1) * len(values) // (2 * count)]) for place in range(count)]

"""The packed images of a version, as a dataset page shows them: counted in columns, and a few read and made small.

The counts are made of whole columns: a version of a million images has a page too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.layout import SPLITS, Split, VersionLayout
from include.datasets.objects import open_store
from include.datasets.source_image import Status
from include.recordio.format import RecordError, decode_image_record, read_records
from include.recordio.images import ImageError, accept_image, decode_accepted
from include.recordio.options import DecodingMemory, ImageOptions, decoding_bytes

if TYPE_CHECKING:
    from cv2.typing import MatLike
    from mypy_boto3_s3 import S3Client

Integers = npt.NDArray[np.int64]
MOST_PAIRED = 1000
"""Labels, the most frequent ones, whose pairs are counted: a matrix of 8 MB."""
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


@dataclass(frozen=True)
class PackedImages:
    """The packed rows of a manifest as arrays, all of one length but the two of labels."""

    rows: pa.Table
    splits: Integers
    """Index into SPLITS."""
    record_bytes: Integers
    """Length of each record in its `.rec`, with frame and padding."""
    label_rows: Integers
    """With `label_codes` a pair for every label of every image: the image's row, ascending."""
    label_codes: Integers
    """Index of the class."""

    @classmethod
    def of(cls, manifest: pa.Table, labels: Sequence[str], sizes: Mapping[Split, int]) -> PackedImages:
        """Read a version's manifest; `sizes` are the bytes of its record files."""
        rows = manifest.filter(pc.field("status") == Status.PACKED)
        names = cast("pa.ListArray[Any]", _one_chunk(rows["labels"]))
        codes = _numbers(pc.index_in(pc.list_flatten(names), value_set=pa.array(labels, pa.string())))
        owners = _numbers(pc.list_parent_indices(names))
        splits = _numbers(pc.index_in(rows["split"], value_set=pa.array(SPLITS, pa.string())))
        ends = _numbers(pa.array([sizes.get(split, 0) for split in SPLITS], pa.int64()))
        return cls(
            rows=rows,
            splits=splits,
            record_bytes=_record_bytes(splits, _numbers(rows["offset"]), ends),
            label_rows=owners[codes >= 0],
            label_codes=codes[codes >= 0],
        )

    def only(self, chosen: npt.NDArray[np.bool_]) -> PackedImages:
        """The chosen ones of them; `chosen` has a value for each image."""
        kept = chosen[self.label_rows]
        places = np.cumsum(chosen) - 1
        return PackedImages(
            rows=self.rows.filter(pa.array(chosen)),
            splits=self.splits[chosen],
            record_bytes=self.record_bytes[chosen],
            label_rows=places[self.label_rows[kept]],
            label_codes=self.label_codes[kept],
        )

    def pixels(self, column: str) -> Integers:
        """Width or height of every image in pixels, -1 if it is not known."""
        return _numbers(self.rows[column])

    def labels_per_image(self) -> Integers:
        """Number of images by number of labels: `[without any, with one, with two, ...]`."""
        return np.bincount(np.bincount(self.label_rows, minlength=self.rows.num_rows))

    def new_per_class(self, version: str, classes: int) -> tuple[int, Integers]:
        """Images that this version packed itself, in all and by class."""
        new = pc.starts_with(self.rows["shard"], f"{version}/").to_numpy(zero_copy_only=False).astype(bool)
        return int(new.sum()), np.bincount(self.label_codes[new[self.label_rows]], minlength=classes)


def _record_bytes(splits: Integers, offsets: Integers, ends: Integers) -> Integers:
    """A record ends where the next one of its file begins, the last one with the file."""
    order = np.lexsort((offsets, splits))
    starts, files = offsets[order], splits[order]
    following = np.append(starts[1:], 0)
    last = np.append(files[1:] != files[:-1], True)[: len(files)]
    following = following[: len(files)]
    following[last] = ends[files[last]]
    lengths = np.empty_like(starts)
    lengths[order] = following - starts
    return lengths


def _numbers(column: Any) -> Integers:
    array = _one_chunk(column)
    return cast("Integers", pc.fill_null(pc.cast(array, pa.int64()), -1).to_numpy(zero_copy_only=False))


def _one_chunk(column: Any) -> Any:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


@dataclass(frozen=True)
class LabelPairs:
    """How often two labels stand on one image: `counts` is symmetric, its diagonal the labels' own images."""

    labels: tuple[str, ...]
    counts: Integers

    @classmethod
    def of(cls, packed: PackedImages, labels: Sequence[str]) -> LabelPairs:
        """Count the pairs of the most frequent labels, which stay in class order."""
        frequency = np.bincount(packed.label_codes, minlength=len(labels))
        chosen = most_frequent(frequency, MOST_PAIRED)
        places = np.full(len(labels), -1, np.int64)
        places[chosen] = np.arange(len(chosen))
        codes, owners = places[packed.label_codes], packed.label_rows
        codes, owners = codes[codes >= 0], owners[codes >= 0]
        return cls(tuple(labels[number] for number in chosen), _pair_counts(codes, owners, len(chosen)))

    def most_frequent(self, number: int) -> LabelPairs:
        """Keep this many labels, in class order."""
        kept = most_frequent(self.counts.diagonal(), number)
        return LabelPairs(tuple(self.labels[place] for place in kept), self.counts[np.ix_(kept, kept)])

    def ranked(self, number: int) -> list[tuple[str, str, int, float]]:
        """The most frequent pairs: both labels, their images, and these as a share of the rarer label's images."""
        first, second = np.triu_indices(len(self.labels), 1)
        images = self.counts[first, second]
        best = np.argsort(-images, kind="stable")[:number]
        own = self.counts.diagonal()
        return [
            (self.labels[a], self.labels[b], int(both), float(both / min(own[a], own[b])))
            for a, b, both in zip(first[best], second[best], images[best], strict=True)
            if both
        ]


def most_frequent(counts: Integers, number: int) -> Integers:
    """Places of the largest counts, in ascending order of place."""
    return np.sort(np.argsort(-counts, kind="stable")[:number])


def _pair_counts(codes: Integers, owners: Integers, labels: int) -> Integers:
    """Compare each label with the next one of its image, then with the one after, until no image has so many."""
    counts = np.diag(np.bincount(codes, minlength=labels)).ravel()
    for distance in range(1, len(codes)):
        together = owners[:-distance] == owners[distance:]
        if not together.any():
            break
        pairs = codes[:-distance][together] * labels + codes[distance:][together]
        counts += np.bincount(pairs, minlength=labels * labels)
    square = counts.reshape(labels, labels)
    return square + np.triu(square, 1).T + np.tril(square, -1).T


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A packed image made small, with what the manifest reports about it."""

    uri: str
    """The source object."""
    labels: tuple[str, ...]
    split: Split
    width: int
    height: int
    jpeg: bytes
    """Empty if the record cannot be read."""
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
    """Rows to show, class after class: from evenly spaced classes if there are many, evenly spaced within each."""
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
    """Make a small JPEG of a record's image. Raises RecordError and ImageError if it holds none."""
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
    """So many of the values, evenly spaced; all of them if there are fewer."""
    count = min(number, len(values))
    return [int(values[(2 * place + 1) * len(values) // (2 * count)]) for place in range(count)]

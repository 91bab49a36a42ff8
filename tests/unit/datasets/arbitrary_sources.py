"""Arbitrary sources for the fuzz test: keys, classes, label tables and image bytes as a bucket may hold them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from include.recordio.format import MAGIC
from tests.support.pictures import jpeg, pixels

Kind = Literal["folders", "csv", "jsonl", "parquet", "lst"]

CODECS = (".jpg", ".png", ".bmp", ".webp", ".gif", ".tiff")
LONG_NAME = "long " * 60 + ".jpg"
STRANGE_NAMES = (
    "same.jpg",
    "deep/down/same.jpg",
    "a b.jpg",
    " ",
    ".",
    "..",
    "../same.jpg",
    "./same.jpg",
    "tab\tand\nnewline.jpg",
    "carriage\rreturn",
    "%20",
    "%2e%2e%2f",
    "100%.jpg",
    "a+b&c=d?e#f;g,h",
    "quote\"d 'name'.jpg",
    "back\\slash",
    "double//slash.jpg",
    "/leading.jpg",
    "folder/",
    "ü日本語🐈.png",
    "u\u0308.png",
    "\u202eright to left",
    "\ufeffmark",
    "<&amp;>",
    "*[a-z]?{x}",
    LONG_NAME,
    "/".join(["nested"] * 60),
)
BESIDE_FOLDERS = ("beside.jpg", "a b", "%2f", "/in a folder without a name.jpg", "//deeper.jpg")
STRANGE_CLASSES = ("..", ".", "a b", "class%20", "tab\tclass", "train", "日本", "Cat", "-1", "0", "cat,dog", '"')
# moto lists no key with a letter that XML cannot hold, such as most control characters.
ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=12)
NAMES = st.sampled_from(STRANGE_NAMES) | ANY_TEXT
CLASSES = st.sampled_from(STRANGE_CLASSES) | ANY_TEXT.filter(lambda name: name == name.strip() and "/" not in name)


SHOWN_BYTES = 40


def _shortened(body: bytes) -> str:
    return f"{body[:4]!r}... {len(body)} bytes, MD5 {hashlib.md5(body, usedforsecurity=False).hexdigest()}"


@dataclass(frozen=True)
class Photo:
    """An object of a source, or only a row of its label table where `body` is None."""

    body: bytes | None
    labels: tuple[str, ...]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # how Hypothesis prints it
        shown = self.body if self.body is None or len(self.body) <= SHOWN_BYTES else _shortened(self.body)
        printer.text(f"Photo({shown!r}, {self.labels!r})")


Photos = dict[str, Photo]
"""By key, relative to the source."""


@dataclass(frozen=True)
class Source:
    """Images as they are at first and later on, how their labels are told, and what the run conf asks for."""

    kind: Kind
    classes: tuple[str, ...]
    first: Photos
    later: Photos
    multi_label: bool
    asked: list[str]
    packing: dict[str, Any]
    max_bad_fraction: float
    by_address: bool
    keep_removed: bool


def with_comment(photograph: bytes, comment: bytes) -> bytes:
    """Put a comment into a JPEG, which stays a valid one."""
    return photograph[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + photograph[2:]


def encoded(codec: str, height: int, width: int, seed: int) -> bytes:
    return cv2.imencode(codec, pixels(height, width, 3, seed))[1].tobytes()


SIDES = st.integers(1, 24)
SEEDS = st.integers(0, 5)
WHOLE_IMAGES = st.builds(encoded, st.sampled_from(CODECS), SIDES, SIDES, SEEDS)
BODIES = (
    WHOLE_IMAGES
    | st.builds(
        lambda seed, shift, times: with_comment(jpeg(16, 20, seed=seed), b"." * shift + MAGIC * times),
        SEEDS,
        st.integers(0, 3),
        st.integers(1, 3),
    )
    | st.builds(lambda image, part: image[: max(1, len(image) * part // 16)], WHOLE_IMAGES, st.integers(1, 15))
    | st.builds(lambda image, rest: image + rest, WHOLE_IMAGES, st.binary(min_size=1, max_size=8))
    | st.builds(
        lambda start, rest: start + rest, st.sampled_from([b"", b"\xff\xd8\xff", MAGIC]), st.binary(max_size=40)
    )
)


@st.composite
def sources(draw: st.DrawFn) -> Source:
    """Draw a source and what becomes of it; each class has some sound images, so that most builds succeed."""
    kind: Kind = draw(st.sampled_from(get_args(Kind)))
    multi_label = kind != "folders" and draw(st.booleans())
    classes = tuple(draw(st.lists(CLASSES, min_size=2, max_size=3, unique_by=lambda name: name.strip())))
    in_folders = st.tuples(st.sampled_from(classes), NAMES).map("/".join) | st.sampled_from(BESIDE_FOLDERS)
    places = in_folders if kind == "folders" else NAMES.filter(_stands_in_a_list) if kind == "lst" else NAMES
    told = _labels(kind, classes, multi_label=multi_label)
    photos: Photos = {}
    for place, label in enumerate(classes):
        for number in range(draw(st.integers(1, 3))):
            key = f"{place} {number}" if kind == "lst" else f"{label}/{place} {number}"
            photos[key] = Photo(jpeg(12, 12 + number, seed=10 * place + number), (label,))
    _add(photos, draw(st.dictionaries(places, BODIES, max_size=8)), told, draw)
    return Source(
        kind,
        classes,
        photos,
        _changed(draw, photos, places, told, tables=kind != "folders"),
        multi_label,
        asked=list(classes) if kind == "lst" else draw(st.just([]) | st.permutations(classes).map(_first_two)),
        packing=draw(st.sampled_from(PACKINGS)) | {"shard_images": draw(st.integers(1, 9))},
        max_bad_fraction=draw(st.sampled_from([1.0, 1.0, 1.0, 0.01])),
        by_address=draw(st.booleans()),
        keep_removed=draw(st.booleans()),
    )


PACKINGS: list[dict[str, Any]] = [
    {},
    {"resize": 8},
    {"resize": 30, "center_crop": True},
    {"encoding": "png", "quality": 3},
    {"pass_through": True},
    {"pass_through": True},
    {"minimum_side": 10},
]

Told = Callable[[str], st.SearchStrategy[tuple[str, ...]]]


def _labels(kind: Kind, classes: tuple[str, ...], *, multi_label: bool) -> Told:
    def of_key(key: str) -> st.SearchStrategy[tuple[str, ...]]:
        if kind == "folders":
            return st.just((key.partition("/")[0],) if key not in BESIDE_FOLDERS else ())
        fewest, most = int(kind == "lst" and not multi_label), len(classes) if multi_label else 1
        return st.sets(st.sampled_from(classes), min_size=fewest, max_size=most).map(
            lambda chosen: tuple(label for label in classes if label in chosen)
        )

    return of_key


def _stands_in_a_list(name: str) -> bool:
    """Tell whether a .lst can name a key: its fields are stripped, and stand between tabs and line ends."""
    return name == name.strip() and not set("\t\n\r") & set(name)


def _first_two(classes: list[str]) -> list[str]:
    return classes[:2]


def _add(photos: Photos, bodies: Mapping[str, bytes], told: Told, draw: st.DrawFn) -> None:
    for key, body in bodies.items():
        photos[key] = Photo(body, draw(told(key)))


def _changed(draw: st.DrawFn, photos: Photos, places: st.SearchStrategy[str], told: Told, *, tables: bool) -> Photos:
    """Remove, replace and relabel some images, copy some bytes to other keys, and add new ones."""
    changed = dict(photos)
    for key in draw(st.lists(st.sampled_from(sorted(photos)), max_size=4, unique=True)):
        change = draw(st.sampled_from(["remove", "replace", "copy", *(["relabel", "lose"] if tables else [])]))
        photo = changed.pop(key)
        if change == "replace":
            changed[key] = Photo(draw(BODIES), photo.labels)
        elif change == "copy":
            _add(changed, {key: photo.body or b"", draw(places): photo.body or b""}, told, draw)
        elif change == "relabel":
            changed[key] = Photo(photo.body, draw(told(key)))
        elif change == "lose":
            changed[key] = Photo(None, photo.labels)
    _add(changed, draw(st.dictionaries(places, BODIES, max_size=4)), told, draw)
    return changed


def label_table(source: Source, photos: Photos, address: str) -> bytes:
    """Write the table that tells the labels of `photos`, in the format of the source."""
    paths = {key: f"{address}{key}" if source.by_address else key for key in photos}
    if source.kind == "csv":
        return _csv(source, photos, paths)
    if source.kind == "lst":
        return _list(source, photos, paths)
    cells = {key: list(photo.labels) for key, photo in photos.items()}
    if source.kind == "jsonl":
        lines = [json.dumps({"path": paths[key], "label": cells[key]}, ensure_ascii=False) for key in photos]
        return "\n".join(lines).encode()
    sink = io.BytesIO()
    table = {"path": [paths[key] for key in photos], "label": [cells[key] for key in photos]}
    pq.write_table(pa.table(table, schema=pa.schema({"path": pa.string(), "label": pa.list_(pa.string())})), sink)
    return sink.getvalue()


def _csv(source: Source, photos: Photos, paths: Mapping[str, str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if source.multi_label:
        writer.writerow(["path", *source.classes])
        writer.writerows(
            [paths[key], *(int(label in photo.labels) for label in source.classes)] for key, photo in photos.items()
        )
    else:
        writer.writerow(["path", "label"])
        writer.writerows([paths[key], *(photo.labels or [""])] for key, photo in photos.items())
    return text.getvalue().encode()


def _list(source: Source, photos: Photos, paths: Mapping[str, str]) -> bytes:
    lines = []
    for number, (key, photo) in enumerate(photos.items()):
        flags = [int(label in photo.labels) for label in source.classes]
        labels = flags if source.multi_label else [source.classes.index(photo.labels[0])]
        lines.append("\t".join([str(number), *(f"{label:f}" for label in labels), paths[key]]))
    return "\n".join(lines).encode()

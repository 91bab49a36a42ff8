from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from include.datasets import packed_images
from include.datasets.dataset_page import write_report
from include.datasets.manifest import read_manifest
from include.datasets.objects import open_store
from include.datasets.packed_images import IMAGES, SIDE
from include.datasets.version import DatasetVersion, load
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg
from tests.unit.pages.reading import ReadPage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]


def page_of(bucket: Bucket, version: DatasetVersion) -> str:
    return bucket.get(version.layout.report).decode()


def part(page: str, title: str) -> str:
    found = re.search(rf"<section><h2>{title}</h2>(.*?)</section>", page, re.DOTALL)
    assert found, f"no section {title}"
    return found[1]


def rows_of(section: str) -> list[list[str]]:
    """The cells of a section's tables, without their markup."""
    rows = re.findall(r"<tr(?: class=best)?>(<td>.*?)</tr>", section)
    return [[re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row)] for row in rows]


def test_the_page_stands_alone_and_counts_every_class_and_split(bucket: Bucket) -> None:
    bucket.put_images({"cat": 12, "dog": 9})
    version = bucket.build(bucket.conf(packing={"resize": 16}))
    page = page_of(bucket, version)
    read = ReadPage(page)
    assert all(address.startswith("data:image/jpeg;base64,") for address in read.addresses)
    counts = version.class_counts
    assert rows_of(part(page, "Classes")) == [
        [f"{number} {label}", "", *map(str, (counts[label].train, counts[label].validation, counts[label].test)), total]
        for number, (label, total) in enumerate({"cat": "12", "dog": "9"}.items())
    ]
    assert "cat has the most images, 12; dog the fewest, 9; the median is 10." in part(page, "Classes")
    reached = [(row[0], row[2], row[4]) for row in rows_of(part(page, "Splits"))]
    assert reached == [
        ("train", "80.0%", str(version.counts.train)),
        ("validation", "10.0%", str(version.counts.validation)),
        ("test", "10.0%", str(version.counts.test)),
    ]
    assert "16 px, every image" in part(page, "Sizes as packed")
    assert all(said in read.text for said in (version.version, version.uri, "resize 16", "opencv-python-headless"))


def test_the_same_version_gives_the_same_bytes(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 12, "dog": 9})
    bucket.put("images/cat/broken.jpg", b"\xff\xd8\xff")
    version = bucket.build(bucket.conf(max_bad_fraction=0.5))
    page = page_of(bucket, version)
    manifest = read_manifest(s3, bucket.name, version.layout.manifest)
    write_report(s3, version, manifest.combine_chunks(), None)
    assert page_of(bucket, version) == page


def test_what_a_stranger_names_is_shown_and_never_run(bucket: Bucket) -> None:
    attack = "<script>alert(1)<\\script><img src=x onerror=alert(1)>\"'&"
    for number in range(4):
        bucket.put(f"images/{attack}/{number}{attack}.jpg", jpeg(16, 16, seed=number))
        bucket.put(f"images/dog/{number}.jpg", jpeg(16, 16, seed=10 + number))
    bucket.put(f"images/dog/{attack}.jpg", b"<script>alert(1)</script>")
    bucket.put(f"images/dog/0{attack}.jpg", jpeg(16, 16, seed=10))
    bucket.put(f"images/{attack}/dog.jpg", jpeg(16, 16, seed=11))
    version = bucket.build(bucket.conf(max_bad_fraction=1))
    page = page_of(bucket, version)
    read = ReadPage(page)
    assert "script" not in read.tags
    assert read.handlers == []
    assert read.tags.count("img") == version.counts.total
    assert all(address.startswith("data:image/jpeg;base64,") for address in read.addresses)
    for title in ("Classes", "Bad images", "Same content twice", "Images"):
        assert "&lt;script&gt;alert(1)" in part(page, title), title


def test_bad_and_double_images_are_listed_with_their_reasons(bucket: Bucket) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    bucket.put("images/cat/empty.jpg", b"")
    bucket.put("images/cat/notes.jpg", b"some notes")
    bucket.put("images/readme.txt", b"beside the folders")
    bucket.put("images/cat/copy.jpg", bucket.get("images/cat/000.jpg"))
    bucket.put("images/dog/cat.jpg", bucket.get("images/cat/001.jpg"))
    version = bucket.build(bucket.conf(max_bad_fraction=0.5))
    page = page_of(bucket, version)
    told = {row[0]: (row[1], row[3]) for row in rows_of(part(page, "What became of each image"))}
    assert {status: int(count) for status, (count, _) in told.items()} == version.statuses
    assert told["empty"] == ("1", "the object has no bytes (1)")
    bad = part(page, "Bad images")
    assert "2 in all" in bad
    assert [row[:2] for row in rows_of(bad)] == [
        [f"s3://{bucket.name}/images/cat/empty.jpg", "empty"],
        [f"s3://{bucket.name}/images/cat/notes.jpg", "not_an_image"],
    ]
    assert [row[1] for row in rows_of(part(page, "Same content twice"))] == ["conflict", "conflict", "duplicate"]


def test_long_lists_are_cut_and_the_total_is_told(bucket: Bucket) -> None:
    bucket.put_images({"cat": 3, "dog": 3})
    for number in range(25):
        bucket.put(f"images/cat/{number}.txt", b"%02d is no image" % number)
    page = page_of(bucket, bucket.build(bucket.conf(max_bad_fraction=1)))
    bad = part(page, "Bad images")
    assert "25 in all; the first 20 of each status." in bad
    assert len(rows_of(bad)) == 20
    assert "22 other reasons" in part(page, "What became of each image")


def test_growth_is_told_by_class(bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    first = bucket.build(bucket.conf())
    bucket.put_images({"cat": 3}, first=100)
    second = bucket.build(bucket.conf(), "manual__2", parent=first.uri)
    assert "Since the parent" not in page_of(bucket, first)
    grown = part(page_of(bucket, second), "Since the parent")
    assert rows_of(grown) == [["all", "10", "+3", "", "13"], ["cat", "5", "+3", "", "8"]]
    assert "the same images as there: 1." in grown


def test_several_labels_to_an_image_are_shown_together(bucket: Bucket) -> None:
    table = ["path,cat,dog,cow"]
    for number, shown in enumerate(["1,0,0", "1,1,0", "1,1,0", "0,1,1", "0,0,1", "1,1,1"] * 2):
        bucket.put(f"images/{number}.jpg", jpeg(16, 16, seed=number))
        table.append(f"{number}.jpg,{shown}")
    bucket.put("labels.csv", "\n".join(table).encode())
    conf = bucket.conf(label_tables=[f"s3://{bucket.name}/labels.csv"], multi_label=True)
    together = part(page_of(bucket, bucket.build(conf)), "Labels together")
    rows = rows_of(together)
    assert [row for row in rows if "label" in row[0]] == [
        ["1 label", "", "4"],
        ["2 labels", "", "6"],
        ["3 labels", "", "2"],
    ]
    assert [row for row in rows if "+" in row[0]] == [
        ["cat + dog", "6", "75.0%"],
        ["dog + cow", "4", "66.7%"],
        ["cat + cow", "2", "33.3%"],
    ]
    heat = re.findall(r'<td class="(\w+)"[^>]*>(\d*)</td>', together)
    assert heat == [
        *(("own", "8"), ("pair", "6"), ("pair", "2")),
        *(("pair", "6"), ("own", "8"), ("pair", "4")),
        *(("pair", "2"), ("pair", "4"), ("own", "6")),
    ]


def test_the_sheet_shows_the_images_of_the_records(bucket: Bucket) -> None:
    for number, label in enumerate(("dark", "light")):
        for shade in range(4):
            pixels = np.full((300, 500, 3), 40 + 150 * number + shade, np.uint8)
            bucket.put(f"images/{label}/{shade}.jpg", cv2.imencode(".jpg", pixels)[1].tobytes())
    page = page_of(bucket, bucket.build(bucket.conf()))
    shown = re.findall(r'<figure><img alt="([^"]*)" title="[^"]*" src="data:image/jpeg;base64,([^"]*)">', page)
    assert len(shown) == 8
    for says, encoded in shown:
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
        assert pixels.shape[:2] == (58, SIDE)
        shade = int(re.search(r"/(\d).jpg", says)[1]) + (190 if "light" in says else 40)  # type: ignore[index]
        assert pixels.mean() == pytest.approx(shade, abs=2)
        assert "500 x 300" in says


def test_hundreds_of_classes_take_few_and_small_reads(
    s3: S3Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(70):
        bucket.put(f"images/class {number:02d}/0.jpg", jpeg(16, 16, seed=number))
        bucket.put(f"images/class {number:02d}/1.jpg", jpeg(16, 16, seed=100 + number))
    version = bucket.build(bucket.conf())
    manifest = read_manifest(s3, bucket.name, version.layout.manifest)
    lengths: list[int] = []

    class CountingStore:
        def __init__(self, s3: S3Client, bucket: str) -> None:
            self._store = open_store(s3, bucket)

        def get_range(self, key: str, *, start: int, end: int) -> bytes:
            lengths.append(end - start)
            return bytes(self._store.get_range(key, start=start, end=end))

    monkeypatch.setattr(packed_images, "open_store", CountingStore)
    write_report(s3, version, manifest, None)
    assert len(lengths) == IMAGES
    assert sum(lengths) < 60 * 2000
    page = page_of(bucket, version)
    assert ReadPage(page).tags.count("g") == 70
    assert "Each class has 2." in part(page, "Classes")
    assert len(page) < 300_000


def test_a_record_that_cannot_be_shown_does_not_hold_up_the_version(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    version = bucket.build(bucket.conf())
    records = bytearray(bucket.get(version.layout.records("train")))
    records[:8] = b"\0" * 8
    bucket.put(version.layout.records("train"), bytes(records))
    write_report(s3, version, read_manifest(s3, bucket.name, version.layout.manifest), None)
    page = page_of(bucket, version)
    assert page.count('<div class="absent"') == 1
    assert "cannot be shown: RecordIO is damaged at byte 0" in page
    assert ReadPage(page).tags.count("img") == 7


def test_a_page_that_cannot_be_written_publishes_nothing(
    s3: S3Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_images({"cat": 4, "dog": 4})

    def refuse(**_: Any) -> None:
        raise OSError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(s3, "head_object", refuse)
        with pytest.raises(OSError, match="no network"):
            bucket.build(bucket.conf())
    assert not [key for key in bucket.listing() if key.endswith("dataset.json")]
    version = bucket.build(bucket.conf())
    assert load(s3, version.uri) == version

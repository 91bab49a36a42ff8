"""Whole builds over arbitrary sources: nothing is lost, nothing is silent.

A few examples, the same ones each time; `FUZZ_EXAMPLES=1000 pytest tests/unit/datasets/test_fuzz.py` looks for new
ones.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, event, given, note, settings

from include.datasets.errors import DatasetError
from include.datasets.layout import SPLITS
from include.datasets.manifest import read_manifest
from include.datasets.source_image import system_name
from include.datasets.version import DatasetVersion
from include.recordio.format import ImageRecord, decode_image_record, read_records
from include.recordio.images import ImageError, pack_image, readable_size
from include.recordio.options import ImageOptions
from tests.support.dataset_bucket import Bucket
from tests.unit.datasets.arbitrary_sources import Photos, Source, label_table, sources

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ASKED = int(os.environ.get("FUZZ_EXAMPLES", "0"))
PREFIX = "images/"
Row = dict[str, Any]


def etag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Built:
    """A published version and what it was built from; `bodies` are all that ever lay in the source, by ETag."""

    bucket: Bucket
    version: DatasetVersion
    photos: Photos
    bodies: dict[str, bytes]

    @cached_property
    def rows(self) -> list[Row]:
        layout = self.version.layout
        return read_manifest(self.bucket.s3, layout.bucket, layout.manifest).to_pylist()

    @property
    def packed(self) -> list[Row]:
        return [row for row in self.rows if row["status"] == "packed"]

    def records(self, split: str) -> dict[int, ImageRecord]:
        """Read the records of a channel by the byte they begin at."""
        body = self._file(self.version.layout.records(split))
        return {record.offset: decode_image_record(record.payload) for record in read_records(body)}

    def index(self, split: str) -> dict[int, int]:
        """Read a channel's .idx: byte offset by record id."""
        lines = [line.split(b"\t") for line in self._file(self.version.layout.index(split)).splitlines()]
        assert len({int(record_id) for record_id, _ in lines}) == len(lines)
        return {int(record_id): int(offset) for record_id, offset in lines}

    def _file(self, key: str) -> bytes:
        return self.bucket.get(key) if key in self._keys else b""

    @cached_property
    def _keys(self) -> list[str]:
        return self.bucket.listing(self.version.layout.prefix)


def put_source(bucket: Bucket, source: Source, photos: Photos, before: Photos) -> None:
    for key in before.keys() - photos.keys() | {key for key, photo in photos.items() if photo.body is None}:
        bucket.s3.delete_object(Bucket=bucket.name, Key=f"{PREFIX}{key}")
    for key, photo in photos.items():
        if photo.body is not None and (key not in before or before[key].body != photo.body):
            bucket.put(f"{PREFIX}{key}", photo.body)
    if source.kind != "folders":
        bucket.put(f"labels.{source.kind}", label_table(source, photos, f"s3://{bucket.name}/{PREFIX}"))


def build(bucket: Bucket, source: Source, run: str, parent: DatasetVersion | None) -> DatasetVersion | None:
    """Build a version, or return None where it is refused for something that the message names."""
    conf = bucket.conf(
        source=[f"s3://{bucket.name}/{PREFIX}"],
        label_tables=[] if source.kind == "folders" else [f"s3://{bucket.name}/labels.{source.kind}"],
        labels=source.asked,
        multi_label=source.multi_label,
        packing=source.packing,
        max_bad_fraction=source.max_bad_fraction,
        keep_removed=source.keep_removed,
    )
    try:
        return bucket.build(conf, run, parent=parent.uri if parent else None)
    except DatasetError as error:
        note(f"{run} was refused: {error}")
        event(f"{run} was refused")
        assert bucket.name in str(error) or "dataset." in str(error)
        return None


def outcome(body: bytes, options: ImageOptions) -> tuple[str, bytes]:
    """What has to become of an image: its status, and its bytes as packed."""
    try:
        data = pack_image(body, options).data
        if options.pass_through:
            readable_size(body)
    except ImageError as error:
        return error.status, b""
    return "packed", data


def looked_at(built: Built, source: Source) -> Iterator[tuple[str, str]]:
    """Name key and ETag of every image that the version has to account for."""
    for key, photo in built.photos.items():
        if not (source.kind == "folders" and key.endswith("/")):  # a folder
            yield f"{PREFIX}{key}", "" if photo.body is None else etag(photo.body)


def assert_every_image_has_one_row(built: Built, source: Source, parent: Built | None) -> None:
    rows = Counter((row["key"], row["etag"]) for row in built.rows)
    wanted = set(looked_at(built, source))
    assert not {(key, name): rows[key, name] for key, name in wanted if name and rows[key, name] != 1}
    # What a label table names and is gone keeps the parent's row where the parent had one.
    assert {key for key, name in wanted if not name} <= {row["key"] for row in built.rows}
    earlier = {(row["key"], row["etag"]) for row in parent.rows} if parent else set()
    assert set(rows) - wanted <= earlier
    for row in built.rows:
        assert row["bucket"] == built.bucket.name
        assert row["reason"] or row["status"] == "packed"


def assert_records_hold_what_the_manifest_says(built: Built) -> None:
    version, by_split = built.version, {split: built.records(split) for split in SPLITS}
    for split in SPLITS:
        rows = [row for row in built.packed if row["split"] == split]
        assert built.index(split) == {row["record_id"]: row["offset"] for row in rows}
        assert set(by_split[split]) == {row["offset"] for row in rows}
        for row in rows:
            record = by_split[split][row["offset"]]
            places = [version.labels.index(label) for label in row["labels"]]
            one_each = tuple(float(place in places) for place in range(version.num_classes))
            assert record.labels == (one_each if version.multi_label else (float(places[0]),))
            assert record.id == row["record_id"]
            assert ("packed", record.image) == outcome(built.bodies[row["etag"]], version.packing)
    ids = [row["record_id"] for row in built.packed]
    assert len(set(ids)) == len(ids)
    assert max(ids) < version.next_record_id


def assert_no_content_is_packed_twice(built: Built) -> None:
    assert set(Counter(row["etag"] for row in built.packed).values()) == {1}


def assert_the_document_counts_the_manifest(built: Built) -> None:
    version, packed = built.version, built.packed
    assert version.statuses == Counter(row["status"] for row in built.rows)
    assert version.counts.model_dump() == {split: sum(row["split"] == split for row in packed) for split in SPLITS}
    for label, counts in version.class_counts.items():
        shown = Counter(row["split"] for row in packed if label in row["labels"])
        assert counts.model_dump() == {split: shown[split] for split in SPLITS}
    sides = [min(row["width"], row["height"]) for row in packed]
    assert version.smallest_side == min(sides)


def assert_the_bytes_decide_what_becomes_of_an_image(built: Built, source: Source) -> None:
    """For a version without a parent: each content is packed once, under its classes, unless there is a reason."""
    by_content: dict[str, list[Row]] = {}
    for row in built.rows:
        key = row["key"].removeprefix(PREFIX)
        own = built.photos[key].labels
        told = tuple(label for label in built.version.labels if label in own)
        if system_name(key):
            assert row["status"] == "system_file"
        elif own and not told and not source.multi_label:
            assert (row["status"], tuple(row["labels"])) == ("not_asked", own)
        elif not own and not source.multi_label:
            assert row["status"] == ("ignored" if source.kind == "folders" else "unlabelled")
        else:
            assert tuple(row["labels"]) == told
            by_content.setdefault(row["etag"], []).append(row)
    for content, rows in by_content.items():
        statuses, body = Counter(row["status"] for row in rows), built.bodies.get(content, b"")
        if not content:
            assert statuses == {"missing": len(rows)}
        elif not body:
            assert statuses == {"empty": len(rows)}
        elif len({tuple(row["labels"]) for row in rows}) > 1:
            assert statuses == {"conflict": len(rows)}
        else:
            assert statuses.pop(outcome(body, built.version.packing)[0]) == 1
            assert set(statuses) <= {"duplicate"}


def assert_sound_images_are_not_lost(built: Built, parent: Built) -> None:
    """For a version with a parent: what always had the same classes is packed, and what is gone is not."""
    classes = set(built.version.labels)
    told: dict[str, set[tuple[str, ...]]] = {}
    for photos in (parent.photos, built.photos):
        for key, photo in photos.items():
            if photo.body and not system_name(key):
                labels = tuple(label for label in photo.labels if label in classes)
                told.setdefault(etag(photo.body), set()).add(labels)
    there = {etag(photo.body) for key, photo in built.photos.items() if photo.body and not system_name(key)}
    packed = {row["etag"] for row in built.packed}
    for content in there:
        if len(told[content]) == 1 and told[content] != {()}:
            status = outcome(built.bodies[content], built.version.packing)[0]
            assert (content in packed) == (status == "packed")
    before = {row["etag"]: row["split"] for row in parent.packed}
    for row in built.packed:
        assert before.get(row["etag"], row["split"]) == row["split"]


@settings(
    max_examples=ASKED or 8,
    derandomize=not ASKED,
    phases=(Phase.generate, Phase.shrink) if ASKED else (Phase.generate,),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(source=sources())
def test_nothing_is_lost_and_nothing_is_silent(s3: S3Client, source: Source) -> None:
    bucket = Bucket(s3, f"fuzz-{uuid.uuid4().hex[:12]}")
    s3.create_bucket(Bucket=bucket.name)
    put_source(bucket, source, source.first, {})
    bodies = {etag(photo.body): photo.body for photo in source.first.values() if photo.body is not None}
    version = build(bucket, source, "first", None)
    if version is None:
        return
    first = Built(bucket, version, source.first, bodies)
    assert_version_is_sound(first, source, None)
    assert_the_bytes_decide_what_becomes_of_an_image(first, source)
    put_source(bucket, source, source.later, source.first)
    bodies |= {etag(photo.body): photo.body for photo in source.later.values() if photo.body is not None}
    grown = build(bucket, source, "second", version)
    if grown is not None:
        event("both were built")
        second = Built(bucket, grown, source.later, bodies)
        assert_version_is_sound(second, source, first)
        assert_sound_images_are_not_lost(second, first)


def assert_version_is_sound(built: Built, source: Source, parent: Built | None) -> None:
    assert_every_image_has_one_row(built, source, parent)
    assert_records_hold_what_the_manifest_says(built)
    assert_no_content_is_packed_twice(built)
    assert_the_document_counts_the_manifest(built)

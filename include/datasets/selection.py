"""Which of the listed images are packed, each content once; why the others are not; which records of a parent stay.

Images are columns, the listed ones and those of the parent, of which objects are made a batch at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.layout import Split
from include.datasets.manifest import (
    BATCH_ROWS,
    SCHEMA,
    ManifestRow,
    batches,
    class_counts,
    lay_out,
    read_manifest,
    to_table,
    uris,
    without_labels,
)
from include.datasets.source_image import ACCOUNTED, CONTENT_FAILURES, LeftOut, SourceImage, Status
from include.datasets.splits import NO_LABEL, KnownImages
from include.datasets.version import DatasetVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HELD_OUT_FIRST: tuple[Split | None, ...] = ("test", "validation", "train", None)
"""Where a source gives the same bytes to several splits, they stay where they are held out."""
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]
"""Row numbers in a table; -1 stands for no row."""
LISTED_COLUMNS = pa.schema([SCHEMA.field(name) for name in ("bucket", "key", "etag", "size", "labels", "split")])
PARENT_COLUMNS = ["bucket", "key", "etag", "size", "split", "labels", "status", "reason", "record_id"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What becomes of the listed images, and of the records of the parent."""

    listed: int
    """Images that the source lists in the version's classes."""
    new_images: int
    """Those of which the parent knows nothing."""
    chosen: ImageTable
    """To be packed, in the order of their keys."""
    excluded: pa.Table
    """Manifest rows of all objects that no record holds."""
    kept: pa.Table
    """Labels and splits of the parent's records that stay."""
    changed_records: pa.Table
    """Manifest rows of the parent's records that are cut out (`removed`) or now stand for another object."""
    known: KnownImages

    @property
    def cut_records(self) -> int:
        """The parent's records that are cut out."""
        return self.changed_records["status"].to_pylist().count(Status.REMOVED)


def select_images(
    images: Iterable[SourceImage],
    left_out: Iterable[LeftOut],
    parent: ParentImages,
    *,
    keep_removed: bool = False,
) -> Selection:
    """Keep each content once; content under different labels is a conflict and is kept under none.

    A parent's record stays as long as an object with its bytes and its labels is listed, and wins against objects that
    have the same bytes and other labels. With `keep_removed` images that vanished count as listed. Content is known by
    its ETag, which is the same for the same bytes unless they were uploaded in parts of other sizes or encrypted with a
    KMS key.
    """
    listed = ImageTable.of(images)
    beside = to_table(ManifestRow.of(out.image, out.status, out.reason) for out in left_out)
    absent = mask(pc.is_in(beside["status"], value_set=pa.array([Status.MISSING])))
    lost = absent & parent.has_lost(beside)
    gone_before = parent.take(parent.gone_before(beside.filter(pa.array(lost))))
    beside = beside.filter(pa.array(~lost))
    count, new_images = len(listed), int(np.count_nonzero(~parent.is_known(listed)))
    vanished = parent.take(parent.vanished(listed.columns, beside))
    stands_for_itself = pc.is_in(vanished["status"], value_set=pa.array([Status.PACKED, *CONTENT_FAILURES]))
    kept = vanished.filter(stands_for_itself) if keep_removed else vanished.slice(0, 0)
    removed = vanished.filter(pc.invert(stands_for_itself)) if keep_removed else vanished
    removed = pa.concat_tables([removed, gone_before])
    if kept.num_rows:
        listed = ImageTable(pa.concat_tables([listed.columns, ImageTable(_without_splits(kept)).columns]))
    listed = listed.sorted(HELD_OUT_FIRST)  # by the same name: of a million images one table less is in memory
    judged = _Judgement(listed, parent)
    gone = lay_out(removed, status=Status.REMOVED, reason="it is no longer at the source", record_id=None)
    chosen = listed.take(np.flatnonzero(judged.chosen))
    inherited = parent.splits_had(chosen)
    stay = parent.take(np.flatnonzero(judged.stays))
    settled = chosen.columns.set_column(chosen.columns.schema.get_field_index("split"), "split", inherited)
    counted = [table.select(["labels", "split"]) for table in (stay, settled.filter(inherited.is_valid()))]
    return Selection(
        listed=count,
        new_images=new_images,
        chosen=chosen,
        excluded=pa.concat_tables([beside, judged.excluded, gone]),
        kept=counted[0],
        changed_records=pa.concat_tables([judged.cut, judged.moved]),
        known=KnownImages(_splits_of_keys(settled), _settled_counts(pa.concat_tables(counted))),
    )


class _Judgement:
    """Judges each content: those that stand once and have not changed in columns, the others one by one."""

    def __init__(self, listed: ImageTable, parent: ParentImages) -> None:
        self._images = listed
        self._parent = parent
        self._moved: list[ManifestRow] = []
        self.chosen: Mask = np.zeros(len(listed), dtype=bool)
        self.stays: Mask = np.zeros(parent.rows.num_rows, dtype=bool)
        self.excluded = to_table(self._judge())
        self.moved = to_table(self._moved)
        packed = parent.packed
        cut = parent.take(packed[~self.stays[packed]])
        self.cut = lay_out(cut, status=Status.REMOVED, reason=None)

    def _judge(self) -> Iterator[ManifestRow]:
        images, parent = self._images, self._parent
        empty = np.asarray(images.columns["size"]) == 0
        yield from (
            ManifestRow.of(image, Status.EMPTY, "the object has no bytes")
            for image in images.take(np.flatnonzero(empty))
        )
        contents = images.etags.combine_chunks().dictionary_encode()
        codes = np.asarray(contents.indices)
        settled = parent.settled(contents.dictionary)[codes]
        alone = (np.bincount(codes) == 1)[codes] & ~empty
        self.chosen |= alone & (settled < 0)
        unchanged = alone & parent.agree(settled, images.uris, parent.uris)
        unchanged &= parent.agree(settled, images.label_sets, parent.label_sets)
        unchanged &= parent.agree(settled, pa.repeat(Status.PACKED, len(images)), parent.rows["status"])
        self.stays[settled[unchanged]] = True
        rest = np.flatnonzero(~(empty | self.chosen | unchanged))
        rest = rest[np.argsort(codes[rest], kind="stable")]
        rows = parent.manifest_rows(settled[rest])
        one_by_one = zip(codes[rest], rest, settled[rest], images.take(rest), rows, strict=True)
        for _, members in groupby(one_by_one, key=itemgetter(0)):
            _, places, (row, *_), same, (before, *_) = zip(*members, strict=True)
            yield from self._judge_content(places, same, row, before)

    def _judge_content(
        self, places: tuple[int, ...], same: tuple[SourceImage, ...], row: int, before: ManifestRow | None
    ) -> list[ManifestRow]:
        agreeing = [image for image in same if before is None or _alike(image, before)]
        if before is not None and agreeing:
            first = next((image for image in agreeing if image.uri == before.uri), agreeing[0])
            others = [image for image in same if image is not first]
            verdicts = [
                _duplicate(image, first) if _alike(image, first) else _conflict(image, first) for image in others
            ]
            if before.status != Status.PACKED:
                return [ManifestRow.of(first, before.status, before.reason), *verdicts]
            self.stays[row] = True
            if first.uri != before.uri:
                self._moved.append(replace(before, bucket=first.bucket, key=first.key))
            return verdicts
        other = next((image for image in same if not _alike(image, same[0])), None)
        if other is not None:
            return [_conflict(image, other if _alike(image, same[0]) else same[0]) for image in same]
        repeats = [_duplicate(image, same[0]) for image in same[1:]]
        if before is not None and before.status != Status.PACKED:
            return [ManifestRow.of(same[0], before.status, before.reason), *repeats]
        self.chosen[places[0]] = True
        return repeats


def _without_splits(rows: pa.Table) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index("split"), "split", pa.nulls(rows.num_rows, pa.string()))


def _splits_of_keys(chosen: pa.Table) -> dict[tuple[str, str], Split]:
    settled = chosen.select(["bucket", "key", "split"]).filter(chosen["split"].is_valid())
    columns = (settled[name].to_pylist() for name in ("bucket", "key", "split"))
    return {(bucket, key): split for bucket, key, split in zip(*columns, strict=True)}


def _settled_counts(images: pa.Table) -> dict[str, Counter[Split]]:
    """Count the images of each class by their split, those of no class under `NO_LABEL`."""
    counts = class_counts(images)
    without = without_labels(images)
    if without.num_rows:
        counts[NO_LABEL] = Counter(cast("list[Split]", without["split"].to_pylist()))
    return counts


def _alike(image: SourceImage, other: SourceImage | ManifestRow) -> bool:
    return set(image.labels) == set(other.labels)


def _duplicate(image: SourceImage, first: SourceImage) -> ManifestRow:
    return ManifestRow.of(image, Status.DUPLICATE, f"the same bytes as {first.uri}")


def _conflict(image: SourceImage, other: SourceImage) -> ManifestRow:
    return ManifestRow.of(
        image,
        Status.CONFLICT,
        f"the same bytes have another label at {other.uri} ({', '.join(other.labels) or 'none'})",
    )


class ParentImages:
    """A parent's manifest by address and by content; without a parent it has no rows."""

    def __init__(self, rows: pa.Table | None = None) -> None:
        rows = SCHEMA.empty_table() if rows is None else rows
        # Newest first: where a version of old keeps both of an object and its replacement, the replacement counts.
        self.rows = rows.select(PARENT_COLUMNS).take(_row_numbers(np.arange(rows.num_rows)[::-1])).combine_chunks()

    @classmethod
    def of(cls, s3: S3Client, version: DatasetVersion) -> ParentImages:
        """Read a version's manifest."""
        return cls(read_manifest(s3, version.layout.bucket, version.layout.manifest, PARENT_COLUMNS))

    @cached_property
    def uris(self) -> pa.ChunkedArray[Any]:
        """Addresses without `s3://`."""
        return uris(self.rows)

    @cached_property
    def label_sets(self) -> pa.ChunkedArray[Any]:
        """The classes of each image in one text."""
        return _joined_labels(self.rows)

    @property
    def packed(self) -> Places:
        """Rows of images with a record."""
        return self.with_status(Status.PACKED)

    @property
    def accounted(self) -> Places:
        """Rows of images that were packed, or have a final reason why not."""
        return self.with_status(*ACCOUNTED)

    def with_status(self, *statuses: Status) -> Places:
        """Rows with one of these statuses."""
        return np.flatnonzero(mask(pc.is_in(self.rows["status"], value_set=pa.array(sorted(statuses)))))

    def settled(self, etags: Any) -> Places:
        """For each content the row that packed it, or says what is wrong with its bytes."""
        return _find(etags, self.rows["etag"], self.with_status(Status.PACKED, *CONTENT_FAILURES))

    def vanished(self, *present: pa.Table) -> Places:
        """Rows of accounted images whose address stands in none of the tables."""
        rows = self.accounted
        if not len(rows):
            return rows
        there = pa.chunked_array([chunk for table in present for chunk in uris(table).chunks], pa.string())
        return rows[~mask(pc.is_in(self.uris.take(_row_numbers(rows)), value_set=there))]

    def has_lost(self, objects: pa.Table) -> npt.NDArray[np.bool_]:
        """For absent objects, whether the parent accounted for them, whatever they held, or has them as gone."""
        return self._by_uri(objects, self.with_status(*ACCOUNTED, Status.REMOVED)) >= 0

    def gone_before(self, absent: pa.Table) -> Places:
        """Rows of images that were removed, and whose address is still in the table."""
        rows = self.with_status(Status.REMOVED)
        return rows[mask(pc.is_in(self.uris.take(_row_numbers(rows)), value_set=uris(absent)))] if len(rows) else rows

    def is_known(self, images: ImageTable) -> npt.NDArray[np.bool_]:
        """For each image, whether an object of its address and content was accounted for."""
        return self.agree(self._by_uri(images.columns, self.accounted), images.etags, self.rows["etag"])

    def splits_had(self, images: ImageTable) -> pa.ChunkedArray[Any]:
        """For each image the split its content had, else that of another image under its key, else null."""
        had_split = self.with_status(Status.PACKED, Status.REMOVED)
        by_content = self.rows["split"].take(_row_numbers(_find(images.etags, self.rows["etag"], had_split)))
        by_key = self.rows["split"].take(_row_numbers(self._by_uri(images.columns, had_split)))
        return pc.coalesce(by_content, by_key)

    def manifest_rows(self, places: Places) -> Iterator[ManifestRow | None]:
        """What the manifest says in these rows, None for -1."""
        wanted = self.take(places)
        for batch in wanted.to_batches(BATCH_ROWS):
            for cells in batch.to_pylist():
                if not cells["status"]:
                    yield None
                else:
                    yield ManifestRow(**cells | {"labels": tuple(cells["labels"]), "status": Status(cells["status"])})

    def take(self, places: Places) -> pa.Table:
        """These rows; of -1 all cells are null."""
        return self.rows.take(_row_numbers(places))

    def agree(self, places: Places, wanted: Any, column: Any) -> npt.NDArray[np.bool_]:
        """Where a row's cell is the one wanted; there is none if there is no row."""
        return mask(pc.equal(column.take(_row_numbers(places)), wanted))

    def _by_uri(self, objects: pa.Table, rows: Places) -> Places:
        return _find(uris(objects), self.uris, rows) if len(rows) else np.full(objects.num_rows, -1)


def _find(values: Any, column: Any, rows: Places) -> Places:
    """For each value the first of the rows whose cell it is."""
    found = np.asarray(pc.fill_null(pc.index_in(values, value_set=column.take(_row_numbers(rows))), -1), dtype=np.int64)
    return np.where(found < 0, -1, np.append(rows, -1)[found])


class ImageTable:
    """Images in the order they were given; each takes about 150 bytes, where an object takes five hundred."""

    def __init__(self, columns: pa.Table) -> None:
        self.columns = columns.select(LISTED_COLUMNS.names).combine_chunks()

    @classmethod
    def of(cls, images: Iterable[SourceImage]) -> Self:
        """Read images as they are listed."""
        listed = (
            pa.RecordBatch.from_pydict(
                {name: [getattr(image, name) for image in batch] for name in LISTED_COLUMNS.names}, LISTED_COLUMNS
            )
            for batch in batches(images)
        )
        return cls(pa.Table.from_batches(listed, LISTED_COLUMNS))

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def __iter__(self) -> Iterator[SourceImage]:
        label_sets: dict[tuple[str, ...], tuple[str, ...]] = {}
        for batch in self.columns.to_batches(BATCH_ROWS):
            cells: list[list[Any]] = [column.to_pylist() for column in batch.columns]
            for bucket, key, etag, size, labels, split in zip(*cells, strict=True):
                label_set = tuple(labels)
                yield SourceImage(bucket, key, etag, size, label_sets.setdefault(label_set, label_set), split)

    @property
    def uris(self) -> pa.ChunkedArray[Any]:
        """Addresses without `s3://`."""
        return uris(self.columns)

    @property
    def etags(self) -> pa.ChunkedArray[Any]:
        """ETags, which tell content apart."""
        return self.columns["etag"]

    @property
    def label_sets(self) -> pa.ChunkedArray[Any]:
        """The classes of each image in one text."""
        return _joined_labels(self.columns)

    @property
    def bytes(self) -> int:
        """Bytes of all objects."""
        return cast("int | None", pc.sum(self.columns["size"]).as_py()) or 0

    def take(self, places: Places) -> ImageTable:
        """The images at these places, in their order."""
        return ImageTable(self.columns.take(_row_numbers(places)))

    def sorted(self, split_order: tuple[Split | None, ...]) -> ImageTable:
        """The images by the split that the source gives them, then by bucket and key."""
        rank = pc.index_in(self.columns["split"], value_set=pa.array(split_order, pa.string()))
        order: Any = [("rank", "ascending"), ("bucket", "ascending"), ("key", "ascending")]
        return self.take(np.asarray(pc.sort_indices(self.columns.append_column("rank", rank), sort_keys=order)))


class ImagesByContent(Mapping[str, SourceImage]):
    """Images of which each content is there once, by their ETag."""

    def __init__(self, images: ImageTable) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[str]:
        for batch in self.images.columns.to_batches(BATCH_ROWS):
            yield from cast("list[str]", batch["etag"].to_pylist())

    def __getitem__(self, etag: str) -> SourceImage:
        return next(iter(self.images.take(np.array([self._places[etag]]))))

    def items(self) -> ItemsView[str, SourceImage]:
        """Pairs whose images are made a batch at a time."""
        return _Pairs(self)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {etag: place for place, etag in enumerate(self)}


class _Pairs(ItemsView[str, SourceImage]):
    def __init__(self, mapping: ImagesByContent) -> None:
        super().__init__(mapping)
        self._images = mapping.images

    def __iter__(self) -> Iterator[tuple[str, SourceImage]]:
        for image in self._images:
            yield image.etag, image


def _row_numbers(places: Places) -> pa.Array[Any]:
    """Write places so that a table can be asked for them: -1 becomes null."""
    return pa.array(places.astype(np.int64), pa.int64(), mask=places < 0)


def mask(values: Any) -> npt.NDArray[np.bool_]:
    """Read what a comparison of columns gave; where there was nothing to compare it is false."""
    return np.asarray(pc.fill_null(values, False), dtype=np.bool_)


def _joined_labels(table: pa.Table) -> pa.ChunkedArray[Any]:
    """Write the classes of each row, which stand in class order, as one text that distinguishes label sets."""
    return cast("pa.ChunkedArray[Any]", pc.binary_join(table["labels"], "\x00"))

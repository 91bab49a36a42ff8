"""Which of the listed images are packed, each content once; why the others are not; which records of a parent stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.layout import Split
from include.datasets.manifest import (
    CONFLICT,
    DUPLICATE,
    EMPTY,
    JUDGED,
    MISSING,
    PACKED,
    REMOVED,
    ManifestRow,
    lay_out,
    to_table,
)
from include.datasets.planning.image_table import ImageTable, mask
from include.datasets.planning.known import KnownImages, settled_counts
from include.datasets.planning.parent_images import ParentImages
from include.datasets.source_image import LeftOut, SourceImage

HELD_OUT_FIRST: tuple[Split | None, ...] = ("test", "validation", "train", None)
"""Where a source gives the same bytes to several splits, they stay where they are held out."""

Mask = npt.NDArray[np.bool_]


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
    """Manifest rows of the parent's records that are cut out (``removed``) or now stand for another object."""
    known: KnownImages

    @property
    def cut_records(self) -> int:
        """The parent's records that are cut out."""
        return self.changed_records["status"].to_pylist().count(REMOVED)


def select_images(
    images: Iterable[SourceImage],
    left_out: Iterable[LeftOut],
    parent: ParentImages,
    *,
    keep_removed: bool = False,
) -> Selection:
    """Keep each content once; content under different labels is a conflict and is kept under none.

    A parent's record stays as long as an object with its bytes and its labels is listed, and wins against objects that
    have the same bytes and other labels. With ``keep_removed`` images that vanished count as listed. Content is told by
    its ETag, which is the same for the same bytes unless they were uploaded in parts of other sizes or encrypted with a
    KMS key.
    """
    listed = ImageTable.of(images)
    beside = to_table(ManifestRow.of(out.image, out.status, out.reason) for out in left_out)
    absent = mask(pc.is_in(beside["status"], value_set=pa.array([MISSING])))
    lost = absent & parent.has_lost(beside)
    gone_before = parent.take(parent.gone_before(beside.filter(pa.array(lost))))
    beside = beside.filter(pa.array(~lost))
    count, new_images = len(listed), int(np.count_nonzero(~parent.is_known(listed)))
    vanished = parent.take(parent.vanished(listed.columns, beside))
    stands_for_itself = pc.is_in(vanished["status"], value_set=pa.array([PACKED, *JUDGED]))
    kept = vanished.filter(stands_for_itself) if keep_removed else vanished.slice(0, 0)
    removed = vanished.filter(pc.invert(stands_for_itself)) if keep_removed else vanished
    removed = pa.concat_tables([removed, gone_before])
    if kept.num_rows:
        listed = ImageTable(pa.concat_tables([listed.columns, ImageTable(_without_splits(kept)).columns]))
    listed = listed.sorted(HELD_OUT_FIRST)  # by the same name: of a million images one table less is in memory
    judged = _Judgement(listed, parent)
    gone = lay_out(removed, status=REMOVED, reason="it is not at the source any more", record_id=None)
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
        known=KnownImages(_splits_of_keys(settled), settled_counts(pa.concat_tables(counted))),
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
        self.cut = lay_out(cut, status=REMOVED, reason=None)

    def _judge(self) -> Iterator[ManifestRow]:
        images, parent = self._images, self._parent
        empty = np.asarray(images.columns["size"]) == 0
        yield from (
            ManifestRow.of(image, EMPTY, "the object has no bytes") for image in images.take(np.flatnonzero(empty))
        )
        contents = images.etags.combine_chunks().dictionary_encode()
        codes = np.asarray(contents.indices)
        settled = parent.settled(contents.dictionary)[codes]
        alone = (np.bincount(codes) == 1)[codes] & ~empty
        self.chosen |= alone & (settled < 0)
        unchanged = alone & parent.agree(settled, images.uris, parent.uris)
        unchanged &= parent.agree(settled, images.label_sets, parent.label_sets)
        unchanged &= parent.agree(settled, pa.repeat(PACKED, len(images)), parent.rows["status"])
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
            if before.status != PACKED:
                return [ManifestRow.of(first, before.status, before.reason), *verdicts]
            self.stays[row] = True
            if first.uri != before.uri:
                self._moved.append(replace(before, bucket=first.bucket, key=first.key))
            return verdicts
        other = next((image for image in same if not _alike(image, same[0])), None)
        if other is not None:
            return [_conflict(image, other if _alike(image, same[0]) else same[0]) for image in same]
        repeats = [_duplicate(image, same[0]) for image in same[1:]]
        if before is not None and before.status != PACKED:
            return [ManifestRow.of(same[0], before.status, before.reason), *repeats]
        self.chosen[places[0]] = True
        return repeats


def _without_splits(rows: pa.Table) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index("split"), "split", pa.nulls(rows.num_rows, pa.string()))


def _splits_of_keys(chosen: pa.Table) -> dict[tuple[str, str], Split]:
    settled = chosen.select(["bucket", "key", "split"]).filter(chosen["split"].is_valid())
    columns = (settled[name].to_pylist() for name in ("bucket", "key", "split"))
    return {(bucket, key): split for bucket, key, split in zip(*columns, strict=True)}


def _alike(image: SourceImage, other: SourceImage | ManifestRow) -> bool:
    return set(image.labels) == set(other.labels)


def _duplicate(image: SourceImage, first: SourceImage) -> ManifestRow:
    return ManifestRow.of(image, DUPLICATE, f"the same bytes as {first.uri}")


def _conflict(image: SourceImage, other: SourceImage) -> ManifestRow:
    return ManifestRow.of(
        image, CONFLICT, f"the same bytes have another label at {other.uri} ({', '.join(other.labels) or 'none'})"
    )

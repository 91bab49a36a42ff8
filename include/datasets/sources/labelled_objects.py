"""A source whose images and labels are the rows of label tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.manifest import MISSING, NOT_ASKED, SKIPPED, UNLABELLED
from include.datasets.planning.given_splits import named_split
from include.datasets.sources.class_folders import (
    CLASS_NOT_ASKED,
    NAMED_AND_ABSENT,
    bucket_and_prefix,
    left_out,
    source_image,
)
from include.datasets.sources.label_rows import TableRow
from include.datasets.sources.label_table import LabelTable
from include.datasets.sources.mismatch import LINES, UnmatchedLine, explain_mismatch
from include.datasets.sources.row_keys import place_of, row_objects, wrong_rows
from include.datasets.sources.source import LeftOut, SourceImage
from include.datasets.sources.system_files import SYSTEM, system_name, system_reason
from include.datasets.sources.table_formats import FIELD

if TYPE_CHECKING:
    from include.datasets.layout import Split
    from include.datasets.sources.image_list import ImageList
    from include.datasets.sources.listing import Listing
    from include.run_conf.dataset import Negatives

BATCH_ROWS = 10_000


class LabelledObjects:
    """The objects that label tables name, all in one bucket, which ``listing_of`` lists.

    With an image list its images are all there are: rows that name others have no image, and images without a row no
    label. ``test_as`` is the split of the images that the tables call test; ``negatives`` says what becomes of images
    of a multi-label source that show none of the labels. Raises LabelTableError where rows contradict each other, name
    several buckets, or a split that is none.
    """

    def __init__(
        self,
        listing_of: Callable[[str], Listing],
        uri: str,
        table: LabelTable,
        *,
        image_list: ImageList | None = None,
        multi_label: bool = False,
        negatives: Negatives = "keep",
        test_as: Split = "test",
    ) -> None:
        self._table = table
        self._list = image_list
        self._multi_label = multi_label
        self._keeps_negatives = multi_label and negatives == "keep"
        self._splits = _splits(table, test_as)
        self.uri = uri
        self.classes = table.classes
        self.class_place = f"rows in {table}"
        self._objects = row_objects(table, uri, listing_of, image_list)
        self.bucket = self._objects.bucket
        own_bucket, prefix = bucket_and_prefix(uri)
        self._prefix = prefix if own_bucket == self.bucket else ""
        self.given_splits = frozenset(self._splits.values())

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """Return the existing images that belong to at least one of the classes, in the order of their rows.

        Of a multi-label source also those that belong to none, unless they are dropped. Raises LabelTableError for rows
        with several of the classes, unless the source is multi-label.
        """
        order = list(labels)
        chosen = self._chosen(order)
        several: list[TableRow] = []
        for row in self._rows():
            names = chosen[row["label_set"]]
            if len(names) > 1 and not self._multi_label:
                several.append(self._table_row(row))
            if self._why_left_out(row, names, len(order)) is None:
                yield self._image(row, names)
        if several:
            shown = ((row, repr(row.labels)) for row in several)
            raise wrong_rows(self._table, shown, "have several labels", "set dataset.multi_label, or keep one label")

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """Return the images that belong to none of the classes or have no row, and the rows that have no object."""
        order = list(labels)
        chosen = self._chosen(order)
        for row in self._rows():
            names = chosen[row["label_set"]]
            why = self._why_left_out(row, names, len(order))
            if why is not None:
                own = self._table.rows.label_sets[row["label_set"]]
                yield LeftOut(self._image(row, own if why[0] == NOT_ASKED else names), *why)
        if self._list is not None:
            yield from self._without_row(self._list)

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:
        """Count the images of a multi-label source by the labels they show beside those that were asked for."""
        order = set(labels)
        counts: Counter[str] = Counter()
        if self._multi_label and not order.issuperset(self._table.rows.labels):
            sizes = pc.value_counts(self._row_table["label_set"].filter(pc.is_valid(self._row_table["etag"])))
            for place, size in zip(*(sizes.field(name).to_pylist() for name in ("values", "counts")), strict=True):
                for label in set(self._table.rows.label_sets[place]) - order:
                    counts[label] += size
        return dict(counts)

    def unmatched(self) -> str:
        """Explain why rows name no object; empty where each does."""
        absent = islice((row for row in self._rows() if row["etag"] is None), LINES)
        rows = [self._table_row(row) for row in absent]
        lines = [UnmatchedLine(place_of(self._table, row), row.path) for row in rows]
        said = explain_mismatch(lines, self._objects.listing, self._prefix)
        return f"{FIELD} {self._table}: {said}" if said else self._objects.listing.unmatched()

    def _why_left_out(self, row: Mapping[str, Any], names: tuple[str, ...], classes: int) -> tuple[str, str] | None:
        """Status and reason of a row whose image is not packed; None where it is."""
        if row["system"] is not None:
            return SYSTEM, system_reason(row["system"])
        if row["status"] is not None:
            return row["status"], row["reason"]
        if not names and not self._multi_label:
            has_labels = bool(self._table.rows.label_sets[row["label_set"]])
            return (NOT_ASKED, CLASS_NOT_ASKED) if has_labels else (UNLABELLED, "its row of the label table is empty")
        if not names and not self._keeps_negatives:
            return SKIPPED, f"it shows none of the {classes} labels, and dataset.negatives is drop"
        return (MISSING, self._why_missing(row)) if row["etag"] is None else None

    def _without_row(self, image_list: ImageList) -> Iterator[LeftOut]:
        named = set(cast("list[str]", self._objects.keys.to_pylist()))
        others = [key for key in image_list.lines if key not in named]
        found = self._objects.listing.find(others)
        for key in others:
            if key in found:
                image, status = source_image(self.bucket, found[key]), UNLABELLED
                reason = "dataset.image_list names it, but no row of the label tables does"
            else:
                image, status, reason = SourceImage(self.bucket, key, "", 0, ()), MISSING, NAMED_AND_ABSENT
            yield left_out(image, below=key.removeprefix(self._prefix), status=status, reason=reason)

    def _why_missing(self, row: Mapping[str, Any]) -> str:
        place = place_of(self._table, self._table_row(row))
        unlisted = self._list is not None and row["key"] not in self._list.lines
        why = "dataset.image_list does not" if unlisted else "it is not there"
        candidates = self._objects.ambiguous.get(row["key"])
        if candidates:
            why = f"several keys differ from it in upper and lower case only: {', '.join(candidates[:3])}"
        return f"{place} of the label table names it, but {why}"

    def _image(self, row: Mapping[str, Any], names: tuple[str, ...]) -> SourceImage:
        split = self._splits.get(row["split"]) if row["split"] else None
        return SourceImage(self.bucket, row["key"], row["etag"] or "", row["size"] or 0, names, split)

    def _table_row(self, row: Mapping[str, Any]) -> TableRow:
        rows = self._table.rows
        labels = rows.label_sets[row["label_set"]]
        return TableRow(rows.tables[row["table"]], row["line"], row["path"], labels, row["split"])

    def _chosen(self, labels: Iterable[str]) -> list[tuple[str, ...]]:
        """The asked classes of each set of labels, in class order."""
        order = {label: index for index, label in enumerate(labels)}
        return [
            tuple(sorted((label for label in labels if label in order), key=order.__getitem__))
            for labels in self._table.rows.label_sets
        ]

    def _rows(self) -> Iterator[dict[str, Any]]:
        for batch in self._row_table.to_batches(max_chunksize=BATCH_ROWS):
            yield from batch.to_pylist()

    @cached_property
    def _row_table(self) -> pa.Table:
        """The rows with the keys, ETags and sizes of their objects; null where there is none."""
        found, prefix = self._objects.found, self._prefix
        etags: list[pa.StringArray] = []
        sizes: list[pa.Int64Array] = []
        systems: list[pa.StringArray] = []
        for chunk in self._objects.keys.chunks:
            keys = cast("list[str]", chunk.to_pylist())
            objects = [found.get(key) for key in keys]
            etags.append(pa.array([each.etag if each else None for each in objects], pa.string()))
            sizes.append(pa.array([each.size if each else None for each in objects], pa.int64()))
            systems.append(pa.array([system_name(key.removeprefix(prefix)) for key in keys], pa.string()))
        return (
            self._table.rows.columns.append_column("key", self._objects.keys)
            .append_column("etag", pa.chunked_array(etags, pa.string()))
            .append_column("size", pa.chunked_array(sizes, pa.int64()))
            .append_column("system", pa.chunked_array(systems, pa.string()))
        )


def _splits(table: LabelTable, test_as: Split) -> dict[str, Split]:
    """What each name of a split means. Raises LabelTableError where one means none."""
    names = cast("list[str]", pc.unique(table.rows.columns["split"].drop_null()).to_pylist())
    splits = {name: split for name in names if (split := named_split(name, test_as=test_as))}
    if len(splits) < len(names):
        unknown = ((row, repr(row.split)) for row in table.rows if row.split and row.split not in splits)
        raise wrong_rows(table, unknown, "name no split", "write train, validation or test")
    return splits

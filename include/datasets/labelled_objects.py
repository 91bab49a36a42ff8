"""A source whose images and labels are the rows of a label table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.datasets.class_folders import bucket_and_prefix
from include.datasets.given_splits import named_split
from include.datasets.label_table import EXAMPLES, LabelTableError, TableRow, read_label_table
from include.datasets.layout import Split, parse_s3_uri
from include.datasets.manifest import MISSING, SKIPPED
from include.datasets.object_lookup import ListedObject, find_objects
from include.datasets.source import LeftOut, SourceImage, unlisted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class _Entry:
    row: TableRow
    key: str
    split: Split | None


class LabelledObjects:
    """The objects that a label table names: by key relative to ``uri``, or by address, all in one bucket.

    ``test_as`` is the split of the images that the table calls test. Raises LabelTableError where rows contradict each
    other, name several buckets, or a split that is none.
    """

    def __init__(
        self, s3: S3Client, uri: str, table_uri: str, *, multi_label: bool = False, test_as: Split = "test"
    ) -> None:
        self._s3 = s3
        self._multi_label = multi_label
        self._test_as = test_as
        table = read_label_table(s3, table_uri)
        self.uri = uri
        self.table_uri = table.uri
        self.classes = table.classes
        self.class_place = f"rows in {table.uri}"
        self.bucket, self._entries = self._resolve(table.rows)
        self.given_splits = frozenset(entry.split for entry in self._entries if entry.split is not None)

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """Return the existing images that belong to at least one of the classes, in the order of their rows.

        Raises LabelTableError for rows with several of the classes, unless the source is multi-label.
        """
        order = {label: index for index, label in enumerate(labels)}
        several: list[TableRow] = []
        for entry in self._entries:
            names = _chosen(entry.row, order)
            if len(names) > 1 and not self._multi_label:
                several.append(entry.row)
            listed = self._listed.get(entry.key)
            if names and listed:
                yield SourceImage(self.bucket, entry.key, listed.etag, listed.size, names, entry.split)
        if several:
            raise self._wrong(
                several, "have several labels", "set dataset.multi_label, or keep one label", lambda row: row.labels
            )

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """Return the images that belong to none of the classes, and the rows that have no object."""
        order = {label: index for index, label in enumerate(labels)}
        for entry in self._entries:
            names, listed = _chosen(entry.row, order), self._listed.get(entry.key)
            if names and listed:
                continue
            etag, size = (listed.etag, listed.size) if listed else ("", 0)
            image = SourceImage(self.bucket, entry.key, etag, size, names, entry.split)
            if names:
                yield LeftOut(image, MISSING, f"line {entry.row.line} of the label table names it, but it is not there")
            else:
                yield LeftOut(image, SKIPPED, f"it shows none of the {len(order)} classes")

    @cached_property
    def _listed(self) -> dict[str, ListedObject]:
        try:
            return find_objects(self._s3, self.bucket, (entry.key for entry in self._entries))
        except ClientError as error:
            raise unlisted("dataset.label_tables", self.table_uri, self.bucket, error) from error

    def _resolve(self, rows: Iterable[TableRow]) -> tuple[str, list[_Entry]]:
        own_bucket, prefix = bucket_and_prefix(self.uri)
        buckets: dict[str, TableRow] = {}
        entries: dict[str, _Entry] = {}
        repeated: list[TableRow] = []
        unknown: list[TableRow] = []
        for row in rows:
            bucket, key = parse_s3_uri(row.path) if "://" in row.path else (own_bucket, f"{prefix}{row.path}")
            split = named_split(row.split, test_as=self._test_as) if row.split else None
            buckets.setdefault(bucket, row)
            if key in entries:
                repeated.append(row)
            if row.split and split is None:
                unknown.append(row)
            entries[key] = _Entry(row, key, split)
        if len(buckets) > 1:
            names = f"name images in {len(buckets)} buckets ({', '.join(buckets)})"
            raise self._wrong(buckets.values(), names, "copy them into one", lambda row: row.path)
        if repeated:
            raise self._wrong(repeated, "name an image again", "an image has one row", lambda row: row.path)
        if unknown:
            raise self._wrong(unknown, "name no split", "write train, validation or test", lambda row: row.split)
        return next(iter(buckets)), list(entries.values())

    def _wrong(
        self, rows: Iterable[TableRow], what: str, remedy: str, shown: Callable[[TableRow], object]
    ) -> LabelTableError:
        wrong = list(rows)
        examples = "; ".join(f"line {row.line}: {shown(row)!r}" for row in wrong[:EXAMPLES])
        table = f"dataset.label_tables {self.table_uri}"
        return LabelTableError(f"{table}: {len(wrong)} rows {what} ({examples}): {remedy}")


def _chosen(row: TableRow, order: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted((label for label in row.labels if label in order), key=order.__getitem__))

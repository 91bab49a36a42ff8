"""Very many listed images: columns of them, of which objects are made a batch at a time."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.layout import Split
from include.datasets.manifest import BATCH_ROWS, SCHEMA, batches, uris
from include.datasets.source_image import SourceImage

Places = npt.NDArray[np.int64]
"""Row numbers in a table; -1 stands for no row."""

COLUMNS = pa.schema([SCHEMA.field(name) for name in ("bucket", "key", "etag", "size", "labels", "split")])


class ImageTable:
    """Images in the order they were given; each takes about 150 bytes, where an object takes five hundred."""

    def __init__(self, columns: pa.Table) -> None:
        self.columns = columns.select(COLUMNS.names).combine_chunks()

    @classmethod
    def of(cls, images: Iterable[SourceImage]) -> Self:
        """Read images as they are listed."""
        listed = (
            pa.RecordBatch.from_pydict(
                {name: [getattr(image, name) for image in batch] for name in COLUMNS.names}, COLUMNS
            )
            for batch in batches(images)
        )
        return cls(pa.Table.from_batches(listed, COLUMNS))

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
        """Addresses without ``s3://``."""
        return uris(self.columns)

    @property
    def etags(self) -> pa.ChunkedArray[Any]:
        """ETags, which tell content apart."""
        return self.columns["etag"]

    @property
    def label_sets(self) -> pa.ChunkedArray[Any]:
        """The classes of each image in one text."""
        return joined_labels(self.columns)

    @property
    def bytes(self) -> int:
        """Bytes of all objects."""
        return cast("int | None", pc.sum(self.columns["size"]).as_py()) or 0

    def take(self, places: Places) -> ImageTable:
        """Return the images at these places, in their order."""
        return ImageTable(self.columns.take(row_numbers(places)))

    def sorted(self, split_order: tuple[Split | None, ...]) -> ImageTable:
        """Return the images by the split that the source gives them, then by bucket and key."""
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
        """Return pairs whose images are made a batch at a time."""
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


def row_numbers(places: Places) -> pa.Array[Any]:
    """Write places so that a table can be asked for them: -1 becomes null."""
    return pa.array(places.astype(np.int64), pa.int64(), mask=places < 0)


def mask(values: Any) -> npt.NDArray[np.bool_]:
    """Read what a comparison of columns gave; where there was nothing to compare it is false."""
    return np.asarray(pc.fill_null(values, False), dtype=np.bool_)


def joined_labels(table: pa.Table) -> pa.ChunkedArray[Any]:
    """Write the classes of each row, which stand in class order, as one text that tells label sets apart."""
    return cast("pa.ChunkedArray[Any]", pc.binary_join(table["labels"], "\x00"))

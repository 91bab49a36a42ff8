"""What a model sees in the images under a prefix: listed, packed, sent by one batch transform, and written as a table.

Every image is packed by the steps of the dataset version that the model learned from, as evaluation does it, into an
object under `s3://OUTPUT/predictions/RUN/images/`, shard by shard. Memory holds one shard's rows at a time. An image
that cannot be packed stays in the table, with its status and reason.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from include.datasets.image_objects import PackedTestImages, kind_of
from include.datasets.layout import bucket_and_prefix
from include.datasets.manifest import ManifestRow, read_manifest, to_rows, to_table, write_manifest
from include.datasets.objects import ObjectSink, ObjectWriter, StoredObjects
from include.datasets.packing import pack_images
from include.datasets.source_image import SourceImage, Status, system_name
from include.datasets.sources.listing import ArchivedObjects, LiveBucket, archived_error
from include.datasets.version import DatasetVersion
from include.evaluation.prediction import LARGEST_PAYLOAD, MEGABYTE, ranked, read_answers
from include.sagemaker.containers import ModelContainer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.recordio.options import ImageOptions
    from include.run_conf.endpoint import PredictionConf
    from include.sagemaker.naming import Run
    from include.settings import Settings

SHARD_IMAGES = 5_000
MOST_SHARDS = 1_000
"""Mapped tasks that one run may have."""
TABLE_NAME = "predictions.parquet"
_PACKED: list[pa.Field[Any]] = [
    pa.field("key", pa.string()),
    pa.field("name", pa.string()),
    pa.field("status", pa.string()),
    pa.field("reason", pa.string()),
]
PACKED = pa.schema(_PACKED)
"""A shard's images: their keys, the names of the packed ones below `images/`, and what became of the others."""
_PREDICTIONS: list[pa.Field[Any]] = [
    pa.field("key", pa.string()),
    pa.field("label", pa.string()),
    pa.field("probability", pa.float64()),
    pa.field("labels", pa.list_(pa.string())),
    pa.field("top_labels", pa.list_(pa.string())),
    pa.field("top_probabilities", pa.list_(pa.float64())),
    pa.field("status", pa.string()),
    pa.field("reason", pa.string()),
]
PREDICTIONS = pa.schema(_PREDICTIONS)
"""`label` is the most probable class; `labels` are the classes that the image shows: of a model of one label per image
`label` alone, else those from the threshold on. An image whose status is not `packed` has neither."""


class NoImagesError(ValueError):
    """There are no images that a batch transform could be sent."""


@dataclass(frozen=True)
class PredictionLayout:
    """Where a run of predictions keeps its parts; `prefix` ends with a slash."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, settings: Settings, run: Run) -> PredictionLayout:
        """The layout of a run."""
        return cls(settings.output_bucket, f"predictions/{run.name}/")

    @property
    def images(self) -> str:
        """Key prefix of the packed images; removed when the table is written."""
        return f"{self.prefix}images/"

    @property
    def images_uri(self) -> str:
        """Address of the packed images, with its closing slash."""
        return f"s3://{self.bucket}/{self.images}"

    def planned(self, index: int) -> str:
        """Key of the images that a shard has to pack."""
        return f"{self.prefix}plan/{index:05d}.parquet"

    def packed(self, index: int) -> str:
        """Key of what became of a shard's images."""
        return f"{self.prefix}packed/{index:05d}.parquet"

    def table(self, output: str) -> tuple[str, str]:
        """Bucket and key of the table; `output` is the prefix that was asked for, empty for the run's own."""
        bucket, prefix = bucket_and_prefix(output) if output else (self.bucket, self.prefix)
        return bucket, f"{prefix}{TABLE_NAME}"


class PredictingModel(BaseModel):
    """The model that predicts, as a person knows it, and the dataset version that it learned from."""

    model_config = ConfigDict(frozen=True)

    name: str
    container: ModelContainer
    dataset: DatasetVersion


class ImageShard(BaseModel):
    """One mapped task: so many images to pack."""

    model_config = ConfigDict(frozen=True)

    index: int
    images: int


class PackedShard(BaseModel):
    """What came of a shard; `largest` is the size of its largest packed image in bytes."""

    model_config = ConfigDict(frozen=True)

    index: int
    packed: int
    bad: dict[str, int] = {}
    largest: int = 0


class BatchPredictions(BaseModel):
    """The table that a run wrote, and what is in it: images by label, and by status if they have none."""

    model_config = ConfigDict(frozen=True)

    uri: str
    images: int
    predicted: int
    labels: dict[str, int]
    bad: dict[str, int]

    @property
    def note(self) -> str:
        """The table in one line."""
        bad = ", ".join(f"{count} {status}" for status, count in self.bad.items())
        most = ", ".join(f"{label} {count}" for label, count in list(self.labels.items())[:5])
        left_out = f"; not predicted: {bad}" if bad else ""
        return f"{self.predicted} of {self.images} images predicted: {most or 'none shows a class'}{left_out}"


def plan_images(s3: S3Client, source: str, layout: PredictionLayout) -> list[ImageShard]:
    """List the images under a prefix and write each shard's part of them; hidden and system files are left out.

    Raises NoImagesError if there is no image, or are more than so many shards hold, and DatasetError if the prefix
    cannot be listed or holds archived objects.
    """
    bucket, _ = bucket_and_prefix(source)
    archived, waiting = ArchivedObjects(), dict[str, str]()
    shards: list[ImageShard] = []
    for images in _shards(listed_images(s3, source, archived)):
        if len(shards) == MOST_SHARDS:
            raise NoImagesError(
                f"source = {source}: there are more than {MOST_SHARDS * SHARD_IMAGES} images, the limit of one "
                "run: start one run for each prefix below it"
            )
        waiting |= archived.of(bucket, (image.key for image in images))
        rows = to_table(ManifestRow.of(image, Status.PLANNED) for image in images)
        write_manifest(s3, layout.bucket, layout.planned(len(shards)), rows)
        shards.append(ImageShard(index=len(shards), images=len(images)))
    if not shards:
        raise NoImagesError(f"source = {source}: there is no image under this prefix: correct it")
    if waiting:
        raise archived_error("source", source, bucket, waiting, sum(shard.images for shard in shards))
    return shards


def listed_images(s3: S3Client, source: str, archived: ArchivedObjects | None = None) -> Iterator[SourceImage]:
    """The objects under a prefix but for hidden and system files; `archived` receives those to be restored first."""
    bucket, prefix = bucket_and_prefix(source)
    for listed in LiveBucket(s3, bucket, field="source", uri=source, archived=archived).objects(prefix):
        if system_name(listed.key.removeprefix(prefix)) is None:
            yield listed.as_image(bucket)


def pack_image_shard(s3: S3Client, shard: ImageShard, layout: PredictionLayout, packing: ImageOptions) -> PackedShard:
    """Pack a shard's images, each to an object of its own; a retry writes the same objects again.

    Raises DatasetError if the source may not be read, OSError if it keeps failing.
    """
    rows = to_rows(read_manifest(s3, layout.bucket, layout.planned(shard.index)))
    packed: dict[str, list[Any]] = {name: [] for name in PACKED.names}
    largest = 0
    with (
        ObjectWriter(s3, StoredObjects(s3, layout.bucket, layout.images)) as writer,
        closing(pack_images(s3, rows, packing)) as images,
    ):
        for place, each in enumerate(images):
            row, name = each.row, None
            if each.image is not None and len(each.image) > LARGEST_PAYLOAD * MEGABYTE:
                row = row.failed(
                    Status.TOO_LARGE, f"packed it has {len(each.image)} bytes: a batch transform cannot send it"
                )
            elif each.image is not None:
                ending, content_type = kind_of(each.image)
                name = f"{shard.index:05d}/{place:05d}{ending}"
                writer.put(f"{layout.images}{name}", each.image, content_type=content_type)
                largest = max(largest, len(each.image))
            for column, value in zip(PACKED.names, (row.key, name, row.status, row.reason), strict=True):
                packed[column].append(value)
    with ObjectSink(s3, layout.bucket, layout.packed(shard.index)) as sink:
        pq.write_table(pa.table(packed, schema=PACKED), _file(sink), compression="zstd")
    bad = Counter(status for status in packed["status"] if status != Status.PACKED)
    return PackedShard(index=shard.index, packed=writer.count, bad=dict(bad.most_common()), largest=largest)


def packed_images(s3: S3Client, shards: Sequence[PackedShard], layout: PredictionLayout) -> PackedTestImages:
    """The packed images of all shards, in order. Raises NoImagesError if none could be packed."""
    if not any(shard.packed for shard in shards):
        counts = sum((Counter(shard.bad) for shard in shards), Counter[str]())
        bad = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        raise NoImagesError(f"None of the images could be packed, and no job was started: {bad}.")
    names = [name for shard in shards for name in _packed_columns(s3, layout, shard, ["name"])["name"] if name]
    return PackedTestImages(layout.images_uri, names, max(shard.largest for shard in shards))


def write_predictions(
    s3: S3Client,
    shards: Sequence[PackedShard],
    *,
    job: str,
    asked: PredictionConf,
    model: PredictingModel,
    settings: Settings,
    layout: PredictionLayout,
) -> BatchPredictions:
    """Write the table of a finished transform job, a row for each image in the order of their keys.

    The packed images are removed afterwards. Raises TransformError for images without an answer, and
    PredictionError for the answers of a model with other classes.
    """
    bucket, key = layout.table(asked.output)
    labels: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    dataset = model.dataset
    facts = {"model": model.name, "dataset_version": dataset.uri, "transform_job": job, "source": asked.source}
    schema = PREDICTIONS.with_metadata(facts)
    with (
        ObjectSink(s3, bucket, key, content_type="application/vnd.apache.parquet") as sink,
        pq.ParquetWriter(_file(sink), schema, compression="zstd") as table,
    ):
        for shard in shards:
            packed = _packed_columns(s3, layout, shard)
            uris = [f"{layout.images_uri}{name}" for name in packed["name"] if name]
            answers = read_answers(
                s3, settings=settings, job=job, uris=uris, classes=dataset.num_classes, prefix=layout.images_uri
            )
            rows = list(_rows(packed, answers, dataset, asked))
            labels.update(label for row in rows for label in row["labels"] or ())
            statuses.update(row["status"] for row in rows)
            table.write_table(pa.Table.from_pylist(rows, schema=schema))
    remove_packed_images(s3, layout)
    predicted = statuses.pop(Status.PACKED, 0)
    return BatchPredictions(
        uri=f"s3://{bucket}/{key}",
        images=predicted + statuses.total(),
        predicted=predicted,
        labels=dict(labels.most_common()),
        bad=dict(statuses.most_common()),
    )


def remove_packed_images(s3: S3Client, layout: PredictionLayout) -> int:
    """Remove the packed images of a run; returns how many there were."""
    removed = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=layout.bucket, Prefix=layout.images):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
        if keys:
            s3.delete_objects(Bucket=layout.bucket, Delete={"Objects": keys, "Quiet": True})  # type: ignore[typeddict-item]
        removed += len(keys)
    return removed


def _shards(images: Iterable[SourceImage]) -> Iterator[list[SourceImage]]:
    remaining = iter(images)
    while shard := list(islice(remaining, SHARD_IMAGES)):
        yield shard


def _packed_columns(
    s3: S3Client, layout: PredictionLayout, shard: PackedShard, columns: list[str] | None = None
) -> dict[str, list[Any]]:
    table = read_manifest(s3, layout.bucket, layout.packed(shard.index), columns)
    found: dict[str, list[Any]] = table.to_pydict()
    return found


def _rows(
    packed: dict[str, list[Any]], answers: Sequence[Sequence[float]], dataset: DatasetVersion, asked: PredictionConf
) -> Iterator[dict[str, Any]]:
    """The rows of a shard's images; `answers` are those of the packed ones, in order."""
    given = iter(answers)
    for key, name, status, reason in zip(*(packed[column] for column in PACKED.names), strict=True):
        row: dict[str, Any] = dict.fromkeys(PREDICTIONS.names)
        row |= {"key": key, "status": status, "reason": reason}
        if name:
            classes = ranked(next(given), dataset.labels)
            shown = [label for label, value in classes if value >= asked.threshold]
            row["label"], row["probability"] = classes[0]
            row["labels"] = shown if dataset.multi_label else [classes[0][0]]
            row["top_labels"] = [label for label, _ in classes[: asked.top_k]]
            row["top_probabilities"] = [value for _, value in classes[: asked.top_k]]
        yield row


def _file(sink: ObjectSink) -> pa.NativeFile:
    return pa.PythonFile(_Stream(sink), mode="w")


class _Stream(io.RawIOBase):
    """An ObjectSink as pyarrow writes to a file."""

    def __init__(self, sink: ObjectSink) -> None:
        super().__init__()
        self._sink = sink
        self._at = 0

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def write(self, data: Any, /) -> int:
        """Pass the bytes on."""
        self._at += len(data)
        return self._sink.write(bytes(data))

    def tell(self) -> int:
        """How many bytes were written."""
        return self._at

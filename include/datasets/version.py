"""A published dataset version: ``dataset.json`` and what can be read through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from include.datasets.dataset_source import DatasetSource
from include.datasets.errors import DatasetError
from include.datasets.layout import Split, VersionLayout
from include.datasets.unpacked import keep_addresses
from include.recordio.format import decode_image_record, read_records
from include.recordio.options import ImageOptions
from include.run_conf.dataset import Negatives

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class SplitOptions(BaseModel):
    """The shares that new images were split by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: float
    validation: float
    test: float
    seed: int
    train_per_class: int | None = None
    test_as: Literal["test", "validation"] = "test"


class SplitCounts(BaseModel):
    """Packed images per split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int = 0
    validation: int = 0
    test: int = 0

    @property
    def total(self) -> int:
        """Packed images of all splits."""
        return self.train + self.validation + self.test


class MeanImage(BaseModel):
    """What a packed image is like on average."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: float
    height: float
    bytes: int
    """Of its record in the ``.rec``."""


class DatasetVersion(BaseModel):
    """``dataset.json``: everything a training job must know of its images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    parent: str | None
    """Address of the version this one grew from."""
    source: DatasetSource
    uri: str
    """``s3://DATA/datasets/NAME/VERSION/``"""
    labels: list[str]
    """Class names in the order of their index."""
    multi_label: bool
    negatives: Negatives = "keep"
    """What becomes of images of a multi-label source that show none of the labels."""
    counts: SplitCounts
    class_counts: dict[str, SplitCounts]
    statuses: dict[str, int]
    """Rows of the manifest by status: ``packed``, ``duplicate``, ``corrupt``, ..."""
    not_asked: dict[str, int] = {}
    """Images of the source by label, for the labels that the version does not have."""
    negative_images: int = 0
    """Packed images that show none of the labels."""
    new_images: int
    """Source images that the parent did not know; all of them where there is no parent."""
    newly_packed: int | None = None
    """Images that no version before had packed so; None in documents from before they were counted."""
    smallest_side: int
    """Shortest edge of any packed image in pixels."""
    smallest_height: int | None = None
    """Of any packed image in pixels; None in documents from before it was kept."""
    smallest_width: int | None = None
    """As `smallest_height`; it may be that of another image."""
    largest_test_image: int | None = None
    """Bytes of the largest packed test image, padding included; None in documents from before it was kept."""
    mean_image: MeanImage | None = None
    """None in documents from before it was worked out."""
    next_record_id: int
    packing: ImageOptions
    split: SplitOptions
    libraries: dict[str, str]
    created: datetime

    @model_validator(mode="before")
    @classmethod
    def _read_older_document(cls, document: Any) -> Any:
        """Read a document from when images without a label were always dropped, and from when the source was one
        address, its layout and one label table beside it.
        """
        if not isinstance(document, dict):
            return document
        document = dict(document)
        if document.get("multi_label"):
            document.setdefault("negatives", "drop")
        if not isinstance(document.get("source"), str):
            return document
        table = document.pop("label_table", "")
        layout = document.pop("source_layout", "class_folders")
        source = {"addresses": [document["source"]], "layout": layout, "label_tables": [table] if table else []}
        return document | {"source": source}

    @property
    def num_classes(self) -> int:
        """The hyperparameter ``num_classes``."""
        return len(self.labels)

    @property
    def num_training_samples(self) -> int:
        """The hyperparameter ``num_training_samples``."""
        return self.counts.train

    @property
    def layout(self) -> VersionLayout:
        """Where the version's parts lie."""
        return VersionLayout.of_uri(self.uri)

    def count(self, split: Split) -> int:
        """Return the number of packed images in a split."""
        return {"train": self.counts.train, "validation": self.counts.validation, "test": self.counts.test}[split]

    def channel_uri(self, split: Split) -> str:
        """Return the S3 prefix of a channel; it holds exactly one ``.rec``. Raises DatasetError for an empty split."""
        if not self.count(split):
            raise DatasetError(
                f"dataset version {self.uri} has no {split} images: build a version with dataset.split.{split} above 0 "
                f"and enough images in every class"
            )
        return f"{self.uri}{split}/"


@dataclass(frozen=True, slots=True)
class HeldOutImage:
    """One packed image of the test split."""

    id: int
    """Of its record."""
    key: str
    """Key of the source object."""
    labels: tuple[float, ...]
    """As stored in the record: the class index, or one 0/1 per class when multi-label."""
    image_bytes: bytes

    @property
    def label(self) -> int:
        """Class index of a single-label image."""
        return int(self.labels[0])


def load(s3: S3Client, uri: str) -> DatasetVersion:
    """Read the version at ``s3://DATA/datasets/NAME/VERSION/``. Raises DatasetError where none was published."""
    version = find(s3, VersionLayout.of_uri(uri))
    if version is None:
        raise DatasetError(
            f"there is no dataset version at {uri}: a version without its dataset.json was not published"
        )
    return version


def find(s3: S3Client, layout: VersionLayout) -> DatasetVersion | None:
    """Return the version if it was published."""
    try:
        document = s3.get_object(Bucket=layout.bucket, Key=layout.document)["Body"].read()
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise
    try:
        version = DatasetVersion.model_validate_json(document)
    except ValidationError as error:
        raise DatasetError(f"s3://{layout.bucket}/{layout.document} cannot be read: {error}") from error
    return _with_sealed_addresses(s3, version)


def _with_sealed_addresses(s3: S3Client, version: DatasetVersion) -> DatasetVersion:
    """Documents of before keep whole web addresses, which belong into no log."""
    addresses = keep_addresses(s3, version.source.addresses, version.layout.bucket, version.name)
    if addresses == version.source.addresses:
        return version
    return version.model_copy(update={"source": version.source.model_copy(update={"addresses": addresses})})


def latest(s3: S3Client, data_bucket: str, name: str) -> DatasetVersion | None:
    """Return the newest published version of a dataset, None where there is none."""
    prefix = f"datasets/{name}/"
    paginator = s3.get_paginator("list_objects_v2")
    names = [
        entry["Prefix"][len(prefix) : -1]
        for page in paginator.paginate(Bucket=data_bucket, Prefix=prefix, Delimiter="/")
        for entry in page.get("CommonPrefixes", [])
    ]
    found = (find(s3, VersionLayout(data_bucket, name, version)) for version in sorted(names, reverse=True))
    return next((version for version in found if version is not None), None)


def held_out_images(s3: S3Client, version: DatasetVersion, limit: int | None = None) -> Iterator[HeldOutImage]:
    """Stream the packed images of the test split with the keys they came from; memory holds one at a time."""
    version.channel_uri("test")
    layout = version.layout
    packed = _packed_test_images(s3, version, ["record_id", "key"])
    keys = dict(zip(packed["record_id"], packed["key"], strict=True))
    body = s3.get_object(Bucket=layout.bucket, Key=layout.records("test"))["Body"]
    try:
        for record in islice(read_records(body), limit):
            image = decode_image_record(record.payload)
            yield HeldOutImage(image.id, keys[image.id], image.labels, image.image)
    finally:
        body.close()


def _packed_test_images(s3: S3Client, version: DatasetVersion, columns: list[str]) -> dict[str, list]:  # type: ignore[type-arg]
    # Every room reads versions; only who reads their images should pay half a second for pyarrow.
    import pyarrow.compute as pc  # noqa: PLC0415

    from include.datasets.manifest import PACKED, read_manifest  # noqa: PLC0415

    layout = version.layout
    table = read_manifest(s3, layout.bucket, layout.manifest, [*columns, "split", "status"])
    packed_for_test = (pc.field("split") == "test") & (pc.field("status") == PACKED)
    return table.filter(packed_for_test).select(columns).to_pydict()

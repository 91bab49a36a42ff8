"""A dataset version: where its images come from, its plan, and once published `dataset.json`.

The plan is what planning hands to packing and publishing. A version is read through its `dataset.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Self

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from include.datasets.errors import DatasetError
from include.datasets.layout import Split, VersionLayout, keep_addresses
from include.recordio.format import decode_image_record, read_records
from include.recordio.options import ImageOptions
from include.run_conf.dataset import GroundTruthConf, Negatives, SourceLayout

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf


class DatasetSource(BaseModel):
    """What `dataset` of a run conf reports about the source; the fields have the run conf's names and meanings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    addresses: list[str]
    """`dataset.source`, or the address of `images/` in the data bucket; a prefix with its closing slash."""
    layout: SourceLayout = "class_folders"
    label_tables: list[str] = []
    ground_truth: GroundTruthConf = GroundTruthConf()
    image_list: str = ""
    inventory: str = ""
    labels_file: str = ""
    keep_removed: bool = False

    @classmethod
    def of(cls, conf: DatasetConf, data_bucket: str) -> Self:
        """Read a run conf; an empty source becomes the address it stands for."""
        named_alike = set(cls.model_fields) - {"addresses"}
        return cls(addresses=conf.addresses(data_bucket), **conf.model_dump(include=named_alike))

    def as_conf(self) -> dict[str, Any]:
        """Give the fields of the run conf back."""
        return {"source": self.addresses, **self.model_dump(exclude={"addresses"})}

    def __str__(self) -> str:
        """The place where a person adds or mends images: the label tables where there are some."""
        return ", ".join(self.label_tables or self.addresses)


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
    """Of its record in the `.rec`."""


class DatasetVersion(BaseModel):
    """`dataset.json`: everything a training job must know of its images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    parent: str | None
    """Address of the version this one grew from."""
    source: DatasetSource
    uri: str
    """`s3://DATA/datasets/NAME/VERSION/`"""
    labels: list[str]
    """Class names in the order of their index."""
    multi_label: bool
    negatives: Negatives = "keep"
    """What becomes of images of a multi-label source that show none of the labels."""
    counts: SplitCounts
    class_counts: dict[str, SplitCounts]
    statuses: dict[str, int]
    """Rows of the manifest by status: `packed`, `duplicate`, `corrupt`, ..."""
    not_asked: dict[str, int] = {}
    """Images of the source by label, for the labels that the version does not have."""
    negative_images: int = 0
    """Packed images that show none of the labels."""
    new_images: int
    """Source images that the parent did not know; all of them if there is no parent."""
    newly_packed: int | None = None
    """Images that no version before had packed so; None in documents from before they were counted."""
    new_training_images: int | None = None
    """Those of them that are for training."""
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
        """The hyperparameter `num_classes`."""
        return len(self.labels)

    @property
    def num_training_samples(self) -> int:
        """The hyperparameter `num_training_samples`."""
        return self.counts.train

    @property
    def layout(self) -> VersionLayout:
        """Where the version's parts lie."""
        return VersionLayout.of_uri(self.uri)

    def count(self, split: Split) -> int:
        """The number of packed images in a split."""
        return {"train": self.counts.train, "validation": self.counts.validation, "test": self.counts.test}[split]

    def channel_uri(self, split: Split) -> str:
        """The S3 prefix of a channel; it holds exactly one `.rec`. Raises DatasetError for an empty split."""
        if not self.count(split):
            raise DatasetError(
                f"dataset version {self.uri} has no {split} images: build a version with dataset.split.{split} above 0 "
                f"and enough images in every class"
            )
        return f"{self.uri}{split}/"


class ShardTask(BaseModel):
    """One mapped task: the images to pack lie in the plan's document of this shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    split: Split
    images: int
    fingerprint: str
    """Hash of the planned rows and options: a finished shard is reused only where it is the same."""


class VersionPlan(BaseModel):
    """What `plan_version` decided, small enough for XCom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    bucket: str
    parent: str | None
    """Address of the parent version."""
    source: DatasetSource
    labels: list[str]
    multi_label: bool
    negatives: Negatives = "keep"
    packing: ImageOptions
    split: SplitOptions
    max_bad_fraction: float
    created: datetime
    next_record_id: int
    new_images: int
    """Source images that the parent's manifest does not know; all of them if there is no parent."""
    not_asked: dict[str, int] = {}
    """Images of the source by label, for the labels that the version does not have."""
    shards: list[ShardTask]
    published: bool = False
    """The version exists already: nothing is left to pack."""

    @classmethod
    def of_published(cls, version: DatasetVersion, max_bad_fraction: float) -> VersionPlan:
        """The plan of a version that is there already."""
        same = set(cls.model_fields) & set(DatasetVersion.model_fields)
        return cls(
            **{name: getattr(version, name) for name in same},
            bucket=version.layout.bucket,
            max_bad_fraction=max_bad_fraction,
            shards=[],
            published=True,
        )

    @property
    def layout(self) -> VersionLayout:
        """Where the version's parts lie."""
        return VersionLayout(self.bucket, self.name, self.version)


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
    """Read the version at `s3://DATA/datasets/NAME/VERSION/`. Raises DatasetError where none was published."""
    version = find(s3, VersionLayout.of_uri(uri))
    if version is None:
        raise DatasetError(
            f"there is no dataset version at {uri}: a version without its dataset.json was not published"
        )
    return version


def find(s3: S3Client, layout: VersionLayout) -> DatasetVersion | None:
    """The version if it was published."""
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


def latest(
    s3: S3Client, data_bucket: str, name: str, *, suits: Callable[[DatasetVersion], bool] = lambda _: True
) -> DatasetVersion | None:
    """The newest published version of a dataset, among those that suit the caller; None if there is none."""
    names = version_names(s3, data_bucket, name)
    found = (find(s3, VersionLayout(data_bucket, name, version)) for version in names)
    return next((version for version in found if version is not None and suits(version)), None)


def version_names(s3: S3Client, data_bucket: str, name: str) -> list[str]:
    """The names of a dataset's versions, the newest first; one that is being built is among them."""
    prefix = f"datasets/{name}/"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=data_bucket, Prefix=prefix, Delimiter="/")
    found = [entry["Prefix"][len(prefix) : -1] for page in pages for entry in page.get("CommonPrefixes", [])]
    return sorted(found, reverse=True)


def lineage(s3: S3Client, version: DatasetVersion) -> Iterator[DatasetVersion]:
    """The version and those from which it grew, the newest first, as far as they are still there."""
    found: DatasetVersion | None = version
    while found is not None:
        yield found
        found = find(s3, VersionLayout.of_uri(found.parent)) if found.parent else None


def learned_test_images(s3: S3Client, version: DatasetVersion, other: str) -> set[int]:
    """The record ids of the test images that a model of the version at the address `other` has learned from.

    They are recognised by their content. None are if that version was deleted.
    """
    known = find(s3, VersionLayout.of_uri(other))
    if known is None:
        return set()
    content = ["etag", "size"]
    learned = _packed_rows(s3, known, content, ("train", "validation"))
    contents = set(zip(*(learned[name] for name in content), strict=True))
    held_out = manifest_of_test_images(s3, version, [*content, "record_id"])
    rows = zip(*(held_out[name] for name in (*content, "record_id")), strict=True)
    return {record_id for etag, size, record_id in rows if (etag, size) in contents}


def held_out_images(
    s3: S3Client, version: DatasetVersion, limit: int | None = None
) -> Generator[HeldOutImage, None, None]:
    """Stream the packed images of the test split with the keys they came from; memory holds one at a time."""
    version.channel_uri("test")
    layout = version.layout
    packed = manifest_of_test_images(s3, version, ["record_id", "key"])
    keys = dict(zip(packed["record_id"], packed["key"], strict=True))
    body = s3.get_object(Bucket=layout.bucket, Key=layout.records("test"))["Body"]
    try:
        for record in islice(read_records(body), limit):
            image = decode_image_record(record.payload)
            yield HeldOutImage(image.id, keys[image.id], image.labels, image.image)
    finally:
        body.close()


def manifest_of_test_images(s3: S3Client, version: DatasetVersion, columns: list[str]) -> dict[str, list[Any]]:
    """Columns of the manifest, of the rows whose images are in the test split."""
    test: Split = "test"
    return _packed_rows(s3, version, columns, [test])


def _packed_rows(
    s3: S3Client, version: DatasetVersion, columns: list[str], splits: Collection[Split]
) -> dict[str, list[Any]]:
    # Every room reads versions; only who reads their images should pay half a second for pyarrow.
    import pyarrow.compute as pc  # noqa: PLC0415

    from include.datasets.manifest import read_manifest  # noqa: PLC0415
    from include.datasets.source_image import Status  # noqa: PLC0415

    layout = version.layout
    table = read_manifest(s3, layout.bucket, layout.manifest, [*columns, "split", "status"])
    packed = pc.field("split").isin(list(splits)) & (pc.field("status") == Status.PACKED)
    return table.filter(packed).select(columns).to_pydict()

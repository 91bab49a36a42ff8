"""The section `dataset` of a run conf, with its rules: which images, which classes, how they are split and packed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from include.problems import Problem
from include.recordio.options import ImageOptions
from include.run_conf.fields import COMMA_SEPARATED, NAME_PARTS, NAME_PATTERN, Section

if TYPE_CHECKING:
    from include.run_conf import RunConf

BUCKET = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"

SourceLayout = Literal["class_folders", "split_folders"]
Negatives = Literal["keep", "drop"]
SourceKind = Literal["prefix", "archive", "records"]
SourceAddress = Annotated[
    str, Field(pattern=rf"(?s)^({BUCKET}(/.*)?|https?://[^/\s]+/.+)$", examples=["s3://bucket/prefix/"])
]
TableAddress = Annotated[str, Field(pattern=rf"(?s)^{BUCKET}/.+$", examples=["s3://bucket/labels.csv"])]

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
RECORDS_ENDING = ".rec"


def source_kind(address: str) -> SourceKind:
    """What an address of `dataset.source` leads to, by its ending; upper and lower case are the same.

    The query of a web address says nothing of it.
    """
    path = address.lower()
    if path.startswith("http"):
        path = path.partition("#")[0].partition("?")[0]
    if path.endswith(ARCHIVE_ENDINGS):
        return "archive"
    return "records" if path.endswith(RECORDS_ENDING) else "prefix"


class SplitConf(Section):
    """How images are shared out; an image keeps its split for ever."""

    model_config = ConfigDict(title="Dataset: split")

    train: float = Field(0.8, gt=0, lt=1, title="Train", description="Share of the images the model learns from.")
    validation: float = Field(0.1, gt=0, lt=1, title="Validation", description="Share that chooses the best model.")
    test: float = Field(0.1, gt=0, lt=1, title="Test", description="Share held out to measure the model at the end.")
    seed: int = Field(0, ge=0, title="Seed", description="Another seed gives another split of a new dataset.")
    train_per_class: int | None = Field(
        None,
        examples=[60, 500],
        ge=1,
        title="Training images per class",
        description="Number of training images of each class. Validation and test share the rest in their proportion. "
        "Empty: the shares decide.",
    )
    test_as: Literal["test", "validation"] = Field(
        "test",
        title="The source's test images",
        description="Use of the test images of a source that is split already. `validation`: they choose "
        "the best model, and the test images are drawn from the training images.",
    )


class GroundTruthConf(Section):
    """Which labels of Ground Truth's output manifests are used."""

    model_config = ConfigDict(title="Dataset: Ground Truth")

    label_attribute: str = Field(
        "",
        examples=["species"],
        title="Label attribute",
        description="The label attribute to use if jobs were chained. Empty: that of the only image "
        "classification job.",
    )
    minimum_confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        title="Least confidence",
        description="Labels with a lower confidence are left out. Ground Truth writes 0 if one worker labelled "
        "an image. Empty: all labels count.",
    )
    human_annotated_only: bool = Field(
        False,
        title="Labelled by people only",
        description="Images that only automated labelling has labelled are left out.",
    )


class PackingConf(Section):
    """How an image becomes a record; the same meaning as im2rec's options."""

    model_config = ConfigDict(title="Dataset: packing")

    resize: int | None = Field(
        None,
        examples=[256, 512],
        ge=1,
        title="Resize",
        description="Length of the shorter side in pixels. Empty: keep the size.",
    )
    quality: int = Field(
        95, ge=1, le=100, title="Quality", description="JPEG quality; for PNG the compression, up to 9."
    )
    encoding: Literal["jpg", "png"] = Field("jpg", title="Encoding", description="Format of the packed images.")
    color: Literal[-1, 0, 1] = Field(
        1,
        title="Color",
        description="`1`: three channels; `0`: grayscale, for an `image_shape` of `1,height,width`; `-1`: as stored, "
        "with alpha and 16 bits where the encoding is `png`, and not turned upright.",
    )
    center_crop: bool = Field(False, title="Centre crop", description="Cut out the middle square before resizing.")
    pass_through: bool = Field(
        False, title="Pass through", description="Pack each image as it is: not resized, not encoded again."
    )
    minimum_side: int | None = Field(
        None,
        examples=[32],
        ge=1,
        title="Smallest side",
        description="Images whose shorter side has fewer pixels are left out as `too_small`. Empty: none.",
    )
    fast_decode: bool = Field(
        False,
        title="Fast decode",
        description="Decode large JPEGs at a fraction of their size before they are resized. This is faster, and the "
        "bytes differ from im2rec's.",
    )
    shard_images: int = Field(
        2000, ge=1, title="Images per shard", description="Number of images that one mapped task packs."
    )

    @classmethod
    def of(cls, options: ImageOptions, *, shard_images: int) -> Self:
        """The section that asks for these options."""
        return cls(
            resize=options.resize or None,
            center_crop=options.center_crop,
            quality=options.quality,
            color=options.color,
            encoding="png" if options.encoding == ".png" else "jpg",
            pass_through=options.pass_through,
            minimum_side=options.minimum_side or None,
            fast_decode=options.fast_decode,
            shard_images=shard_images,
        )

    @property
    def options(self) -> ImageOptions:
        """The options that the section asks for."""
        return ImageOptions(
            resize=self.resize or 0,
            center_crop=self.center_crop,
            quality=self.quality,
            color=self.color,
            encoding=".png" if self.encoding == "png" else ".jpg",
            pass_through=self.pass_through,
            fast_decode=self.fast_decode,
            minimum_side=self.minimum_side or 0,
        )


class DatasetConf(Section):
    """Which images, which classes, which version."""

    model_config = ConfigDict(title="Dataset")

    name: str = Field(
        "images",
        min_length=1,
        max_length=40,
        pattern=NAME_PATTERN,
        json_schema_extra=NAME_PARTS,
        examples=["cats-and-dogs"],
        title="Name",
        description="Name of the dataset's versions, registered models and endpoint.",
    )
    source: list[SourceAddress] = Field(
        [],
        title="Source",
        description="`s3://bucket/prefix/` of the images; or archives (`.zip`, `.tar`, `.tar.gz`, `.tgz`) or finished "
        "`.rec` files, in S3 or at `https://`, one per line. Empty: `images/` in the data bucket.",
    )
    layout: SourceLayout = Field(
        "class_folders",
        title="Layout",
        description="Folders under the source. `class_folders`: a folder for each class; `split_folders`: `train`, "
        "`validation` and `test` with class folders in each.",
    )
    label_tables: list[TableAddress] = Field(
        [],
        title="Label tables",
        description="CSV, Parquet or JSON Lines with a row for each image: `path`, then `label` or a 0/1 column for "
        "each class, and `split` if it is given; or im2rec's `.lst`; or Ground Truth's `output.manifest`. Empty: "
        "folders are the labels.",
    )
    image_list: str = Field(
        "",
        pattern=rf"(?s)^({BUCKET}/.+)?$",
        examples=["s3://bucket/s3-paths.txt"],
        title="Image list",
        description="Text file with one image per line, by address or key: only these images are used. Empty: the "
        "bucket is listed.",
    )
    inventory: str = Field(
        "",
        pattern=rf"(?s)^({BUCKET}/.+)?$",
        examples=["s3://bucket/inventory/2026-01-02T01-00Z/manifest.json"],
        title="Inventory",
        description="`manifest.json` of an S3 Inventory, read instead of listing the bucket. Empty: the bucket is "
        "listed.",
    )
    labels: list[str] = Field(
        [],
        json_schema_extra=COMMA_SEPARATED,
        title="Labels",
        description="Classes in class order, one per line. Empty: all, in the order of sorted folders or of the "
        "table's columns.",
    )
    labels_file: str = Field(
        "",
        pattern=rf"(?s)^({BUCKET}/.+)?$",
        examples=["s3://bucket/labels.txt"],
        title="Labels file",
        description="Text with one class per line, or a JSON list: the classes in class order, and the names behind "
        "the numbers of a `.lst`. The field `labels` can choose some of them.",
    )
    keep_removed: bool = Field(
        False,
        title="Keep removed",
        description="Keep images that were removed from the source in the versions that grow. Off: the next version "
        "drops them.",
    )
    multi_label: bool = Field(
        False, title="Multi-label", description="An image may belong to several classes. This needs a label table."
    )
    negatives: Negatives = Field(
        "keep",
        title="Images without a label",
        description="Images of a multi-label source that show none of the labels. `keep`: they are packed with a 0 for "
        "each label, and the model learns what shows none of them; `drop`: they are left out.",
    )
    max_bad_fraction: float = Field(
        0.01,
        ge=0,
        le=1,
        title="Bad images allowed",
        description="Share of unreadable images. Above it, no version is published.",
    )
    version: str = Field(
        "", title="Version", description="A finished version to use instead of building one. Empty: build one."
    )
    ground_truth: GroundTruthConf = Field(
        GroundTruthConf(), description="Which labels of Ground Truth's output manifests are used."
    )
    split: SplitConf = Field(SplitConf(), description="Which images train, validate and test.")
    packing: PackingConf = Field(PackingConf(), description="How an image becomes a record.")

    def addresses(self, data_bucket: str) -> list[str]:
        """Where the images are: `source`, or `images/` in the data bucket; a prefix ends with a slash."""
        source = self.source or [f"s3://{data_bucket}/images/"]
        return [
            f"{address}/" if source_kind(address) == "prefix" and not address.endswith("/") else address
            for address in source
        ]

    @property
    def image_options(self) -> ImageOptions:
        """How images are packed; those of record files as they are."""
        options = self.packing.options
        return replace(options, pass_through=True) if self.source_kind == "records" else options

    @property
    def source_kind(self) -> SourceKind:
        """What the addresses of `source` lead to; rules see to it that all lead to the same."""
        return source_kind(self.source[0]) if self.source else "prefix"


TABLE_ENDINGS = (".csv", ".parquet", ".jsonl", ".manifest", ".lst")
GROUND_TRUTH_ENDINGS = (".manifest", ".jsonl")
LIST_ENDING = ".lst"
LABELS_ENDINGS = (".txt", ".json")
OTHER_FILES = (".7z", ".rar", ".gz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".idx", ".txt", *TABLE_ENDINGS)
"""Endings of files that people take for a source."""
SECOND_ADDRESS = re.compile(r",\s*s3://|,\s+https?://")
USER = re.compile(r"(https?://)[^/?#]*@")
NO_PASSWORDS = (
    "names a user, and a password in a run conf is kept with every run: put the file into S3, or name a pre-signed "
    "address, which is valid for a limited time"
)
AS_THEY_ARE = "dataset.packing.pass_through packs images as they are: leave one of the two out"
RECORDS_AS_THEY_ARE = "images of .rec files are packed as they are: leave it out, or name the images they were made of"


def source_is_of_one_kind(conf: RunConf) -> Iterator[Problem]:
    """The source is one prefix, or archives, or record files; only files are read from the web."""
    source = conf.dataset.source
    yield from _twice("dataset.source", source)
    for address in source:
        if SECOND_ADDRESS.search(address):
            remedy = "holds a comma and another address: write a list, in the form one address per line"
            yield Problem(field="dataset.source", value=address, remedy=remedy)
        elif USER.match(address):
            yield Problem(field="dataset.source", value=USER.sub(r"\1...@", address), remedy=NO_PASSWORDS)
        elif reason := _no_web_address(address):
            remedy = f"is not a web address: {reason}; write https://host/path/file.zip"
            yield Problem(field="dataset.source", value=address, remedy=remedy)
        elif source_kind(address) == "prefix" and address.lower().endswith(OTHER_FILES):
            remedy = (
                f"is a file, and none of {', '.join(ARCHIVE_ENDINGS)}, {RECORDS_ENDING}: pack its images as one of "
                "these (tables belong into dataset.label_tables); if it is a prefix, end it with a slash"
            )
            yield Problem(field="dataset.source", value=address, remedy=remedy)
        elif address.startswith("http") and source_kind(address) == "prefix":
            endings = f"{', '.join(ARCHIVE_ENDINGS)} or {RECORDS_ENDING}"
            remedy = f"a web address cannot be listed: name a file that ends in {endings}, or s3://bucket/prefix/"
            yield Problem(field="dataset.source", value=address, remedy=remedy)
    kinds = {source_kind(address): address for address in source}
    if len(kinds) > 1:
        words = {"prefix": "a prefix", "archive": "an archive", "records": "a record file"}
        found = ", ".join(f"{words[kind]} ({address})" for kind, address in kinds.items())
        yield Problem(field="dataset.source", value=found, remedy="name addresses of one kind: put the images together")
    elif "prefix" in kinds and len(source) > 1:
        remedy = "name one prefix: the folder above all of them, or dataset.label_tables with addresses"
        yield Problem(field="dataset.source", value=", ".join(source), remedy=remedy)


def _no_web_address(address: str) -> str | None:
    """Why an address that begins with http leads nowhere, None if it may lead somewhere."""
    try:
        parts = urlsplit(address)
        nowhere = parts.scheme.startswith("http") and (not parts.hostname or parts.port == 0)
    except ValueError as error:
        return str(error)
    return "it names no host" if nowhere else None


def packed_sources_list_themselves(conf: RunConf) -> Iterator[Problem]:
    """What an archive or a record file holds, its content says; records have labels too."""
    dataset, kind = conf.dataset, conf.dataset.source_kind
    if kind == "prefix":
        return
    what = "an archive" if kind == "archive" else "a .rec file"
    for field in ("image_list", "inventory"):
        if value := getattr(dataset, field):
            remedy = f"{what} already lists its content: leave it empty, or name a prefix in dataset.source"
            yield Problem(field=f"dataset.{field}", value=value, remedy=remedy)
    if kind == "archive" and dataset.label_tables and len(dataset.source) > 1:
        remedy = "the paths of a table are those of one archive: name one in dataset.source, or leave the tables out"
        yield Problem(field="dataset.label_tables", value=", ".join(dataset.label_tables), remedy=remedy)
    if kind == "records":
        yield from _records_say_all(dataset)


def labels_come_from_one_place(conf: RunConf) -> Iterator[Problem]:
    """Labels come from folders or from tables, and their files are of formats that can be read."""
    dataset = conf.dataset
    tables = dataset.label_tables
    yield from _twice("dataset.label_tables", tables)
    for table in tables:
        if not table.lower().endswith(TABLE_ENDINGS):
            yield Problem(field="dataset.label_tables", value=table, remedy=_must_end_in(TABLE_ENDINGS))
    if len({table.lower().endswith(LIST_ENDING) for table in tables}) > 1:
        remedy = "a .lst has numbers where the others have names: write tables of one kind"
        yield Problem(field="dataset.label_tables", value=", ".join(tables), remedy=remedy)
    if dataset.labels_file and not dataset.labels_file.lower().endswith(LABELS_ENDINGS):
        yield Problem(field="dataset.labels_file", value=dataset.labels_file, remedy=_must_end_in(LABELS_ENDINGS))
    if dataset.inventory and not dataset.inventory.endswith(".json"):
        remedy = "name the manifest.json of the inventory, which names its files"
        yield Problem(field="dataset.inventory", value=dataset.inventory, remedy=remedy)
    if tables and dataset.layout == "split_folders":
        remedy = "dataset.label_tables have labels and splits: leave it at class_folders"
        yield Problem(field="dataset.layout", value=dataset.layout, remedy=remedy)


def ground_truth_has_a_manifest(conf: RunConf) -> Iterator[Problem]:
    """What counts of Ground Truth's labels is a question only where its output manifests are the label tables."""
    dataset = conf.dataset
    if any(table.lower().endswith(GROUND_TRUTH_ENDINGS) for table in dataset.label_tables):
        return
    for name, value in dataset.ground_truth.model_dump(exclude_defaults=True).items():
        remedy = "is for output manifests of Ground Truth: name them in dataset.label_tables, or leave it empty"
        yield Problem(field=f"dataset.ground_truth.{name}", value=value, remedy=remedy)


def negatives_are_of_several_labels(conf: RunConf) -> Iterator[Problem]:
    """Only an image of a multi-label source can show none of the labels."""
    if conf.dataset.negatives == "drop" and not conf.dataset.multi_label:
        remedy = "is for multi-label sources, whose images may show none of the labels: leave it at keep"
        yield Problem(field="dataset.negatives", value=conf.dataset.negatives, remedy=remedy)


def splits_come_from_one_place(conf: RunConf) -> Iterator[Problem]:
    """Splits come from the source or from the shares."""
    dataset, split = conf.dataset, conf.dataset.split
    folders = dataset.layout == "split_folders"
    tells_splits = folders or dataset.label_tables or dataset.source_kind == "records"
    if split.test_as != "test" and not tells_splits:
        remedy = "only a source that is split already has test images: set dataset.layout or leave it at test"
        yield Problem(field="dataset.split.test_as", value=split.test_as, remedy=remedy)
    if split.train_per_class and folders:
        remedy = "the folders show which images train: leave it empty"
        yield Problem(field="dataset.split.train_per_class", value=split.train_per_class, remedy=remedy)
    if split.train_per_class and dataset.multi_label:
        remedy = "an image may have several classes: leave it empty and use the shares"
        yield Problem(field="dataset.split.train_per_class", value=split.train_per_class, remedy=remedy)


def splits_add_up(conf: RunConf) -> Iterator[Problem]:
    """The three shares are one whole."""
    split = conf.dataset.split
    shares = (split.train, split.validation, split.test)
    if not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        yield Problem(
            field="dataset.split",
            value=" + ".join(f"{share:g}" for share in shares),
            remedy=f"train, validation and test must add up to 1, not {sum(shares):g}",
        )


def labels_differ(conf: RunConf) -> Iterator[Problem]:
    """A class name occurs once, and one class is none."""
    labels = conf.dataset.labels
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        yield Problem(field="dataset.labels", value=", ".join(twice), remedy="is listed twice: each class once")
    elif len(labels) == 1:
        yield Problem(
            field="dataset.labels", value=labels[0], remedy="name at least two classes, or leave it empty for all"
        )


def packing_is_one_thing(conf: RunConf) -> Iterator[Problem]:
    """An image that is packed as it is cannot be changed on the way, and none is decoded smaller than it is packed."""
    packing = conf.dataset.packing
    changes = {
        "resize": packing.resize,
        "center_crop": packing.center_crop,
        "encoding": packing.encoding == "png",
        "color": packing.color != 1,
        "fast_decode": packing.fast_decode,
    }
    records = conf.dataset.source_kind == "records"
    if packing.pass_through or records:
        for name, asked in changes.items():
            if asked:
                remedy = RECORDS_AS_THEY_ARE if records else AS_THEY_ARE
                yield Problem(field=f"dataset.packing.{name}", value=getattr(packing, name), remedy=remedy)
    elif packing.fast_decode and packing.resize is None:
        remedy = "has no effect on images that keep their size: set dataset.packing.resize too"
        yield Problem(field="dataset.packing.fast_decode", value=True, remedy=remedy)


def _records_say_all(dataset: DatasetConf) -> Iterator[Problem]:
    if dataset.label_tables:
        remedy = "records have their labels: leave it empty, or name the images in dataset.source"
        yield Problem(field="dataset.label_tables", value=", ".join(dataset.label_tables), remedy=remedy)
    if dataset.layout == "split_folders":
        remedy = "a .rec file has no folders: end its name in its split (train.rec, val.rec), and leave class_folders"
        yield Problem(field="dataset.layout", value=dataset.layout, remedy=remedy)


def _twice(field: str, addresses: Sequence[str]) -> Iterator[Problem]:
    for address in sorted({address for address in addresses if addresses.count(address) > 1}):
        yield Problem(field=field, value=address, remedy="is listed twice: name it once")


def _must_end_in(endings: Sequence[str]) -> str:
    return f"must end in {', '.join(endings[:-1])} or {endings[-1]}"


DATASET_RULES: tuple[Callable[[RunConf], Iterator[Problem]], ...] = (
    splits_add_up,
    packing_is_one_thing,
    source_is_of_one_kind,
    packed_sources_list_themselves,
    labels_come_from_one_place,
    ground_truth_has_a_manifest,
    negatives_are_of_several_labels,
    splits_come_from_one_place,
    labels_differ,
)
"""What a run conf may not say about its dataset: where images and labels come from, how they are split and packed."""

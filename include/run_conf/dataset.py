"""The section `dataset` of a run conf: which images, which classes, how they are split and packed."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from include.recordio.options import ImageOptions
from include.run_conf.section import COMMA_SEPARATED, NAME_PARTS, NAME_PATTERN, Section

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

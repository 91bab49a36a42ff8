"""What a run conf may not say about its dataset: where images and labels come from, how they are split and packed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from include.problems import Problem
from include.run_conf.dataset import ARCHIVE_ENDINGS, RECORDS_ENDING, DatasetConf, source_kind
from include.run_conf.sections import RunSections

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


def source_is_of_one_kind(conf: RunSections) -> Iterator[Problem]:
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


def packed_sources_list_themselves(conf: RunSections) -> Iterator[Problem]:
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


def labels_come_from_one_place(conf: RunSections) -> Iterator[Problem]:
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


def ground_truth_has_a_manifest(conf: RunSections) -> Iterator[Problem]:
    """What counts of Ground Truth's labels is a question only where its output manifests are the label tables."""
    dataset = conf.dataset
    if any(table.lower().endswith(GROUND_TRUTH_ENDINGS) for table in dataset.label_tables):
        return
    for name, value in dataset.ground_truth.model_dump(exclude_defaults=True).items():
        remedy = "is for output manifests of Ground Truth: name them in dataset.label_tables, or leave it empty"
        yield Problem(field=f"dataset.ground_truth.{name}", value=value, remedy=remedy)


def negatives_are_of_several_labels(conf: RunSections) -> Iterator[Problem]:
    """Only an image of a multi-label source can show none of the labels."""
    if conf.dataset.negatives == "drop" and not conf.dataset.multi_label:
        remedy = "is for multi-label sources, whose images may show none of the labels: leave it at keep"
        yield Problem(field="dataset.negatives", value=conf.dataset.negatives, remedy=remedy)


def splits_come_from_one_place(conf: RunSections) -> Iterator[Problem]:
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


def splits_add_up(conf: RunSections) -> Iterator[Problem]:
    """The three shares are one whole."""
    split = conf.dataset.split
    shares = (split.train, split.validation, split.test)
    if not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        yield Problem(
            field="dataset.split",
            value=" + ".join(f"{share:g}" for share in shares),
            remedy=f"train, validation and test must add up to 1, not {sum(shares):g}",
        )


def labels_differ(conf: RunSections) -> Iterator[Problem]:
    """A class name occurs once, and one class is none."""
    labels = conf.dataset.labels
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        yield Problem(field="dataset.labels", value=", ".join(twice), remedy="is listed twice: each class once")
    elif len(labels) == 1:
        yield Problem(
            field="dataset.labels", value=labels[0], remedy="name at least two classes, or leave it empty for all"
        )


def packing_is_one_thing(conf: RunSections) -> Iterator[Problem]:
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

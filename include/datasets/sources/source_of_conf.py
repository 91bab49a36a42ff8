"""Which source a run conf means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from include.datasets.errors import DatasetError
from include.datasets.planning.given_splits import named_split
from include.datasets.sources.archived_objects import ArchivedObjects
from include.datasets.sources.class_folders import ClassFolders, bucket_and_prefix
from include.datasets.sources.class_numbers import ClassNames
from include.datasets.sources.image_list import ImageList, ListedImages, check_under, read_image_list
from include.datasets.sources.inventory import Inventory
from include.datasets.sources.label_table import read_label_tables
from include.datasets.sources.labelled_objects import LabelledObjects
from include.datasets.sources.labels_file import read_labels_file
from include.datasets.sources.listing import Listing, LiveBucket
from include.datasets.sources.source import ImageSource
from include.datasets.sources.split_folders import SplitFolders
from include.datasets.sources.united_sources import archive_root, open_archives, open_records
from include.datasets.unpacked import UnpackedLayout

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

ListingOf = Callable[[str], Listing]


def open_source(
    s3: S3Client, conf: DatasetConf, data_bucket: str, archived: ArchivedObjects | None = None
) -> ImageSource:
    """Look at the source of a run conf: its label tables where it names some, else its folders.

    Archives and record files have to be unpacked before. Raises DatasetError where the source is not what the conf
    says, or cannot give what it asks for. ``archived`` hears of listed objects that have to be restored first.
    """
    if conf.multi_label and not conf.label_tables and conf.source_kind != "records":
        raise DatasetError(
            "dataset.multi_label is true, but folders give every image one label: name dataset.label_tables "
            "(CSV, Parquet, JSON Lines or .lst) that list images with their labels"
        )
    source = (
        _open_unpacked(s3, conf, data_bucket)
        if conf.source_kind != "prefix"
        else _open_prefix(s3, conf, data_bucket, archived)
    )
    if conf.source_kind != "records" and not conf.label_tables:
        _check_folders_are_classes(conf, source)
    if conf.split.train_per_class and source.given_splits:
        where = "dataset.label_tables" if conf.label_tables else "dataset.source"
        raise DatasetError(
            f"dataset.split.train_per_class = {conf.split.train_per_class}, but {where} "
            f"{', '.join(conf.label_tables) or source.uri} has splits: leave the field empty, or take them out (a "
            "column 'split', or a file name that ends in one)"
        )
    return source


def _check_folders_are_classes(conf: DatasetConf, source: ImageSource) -> None:
    """Raise DatasetError where folders are rather splits than classes, unless the run conf names them as classes."""
    splits = [folder for folder in source.classes if named_split(folder)]
    several = len({named_split(folder) for folder in splits}) > 1
    if several and conf.layout == "class_folders" and not (conf.labels or conf.labels_file):
        raise DatasetError(
            f"dataset.layout is class_folders, but folders of {source.uri} are named for splits ({', '.join(splits)}): "
            "set it to split_folders, or name all classes in dataset.labels if these are some"
        )


def _open_prefix(s3: S3Client, conf: DatasetConf, data_bucket: str, archived: ArchivedObjects | None) -> ImageSource:
    uri = conf.addresses(data_bucket)[0]

    def listing_of(bucket: str) -> Listing:
        field, address = (
            ("dataset.label_tables", conf.label_tables[0]) if conf.label_tables else ("dataset.source", uri)
        )
        live = LiveBucket(s3, bucket, field=field, uri=address, archived=archived)
        return Inventory(s3, conf.inventory, bucket, archived) if conf.inventory else live

    if conf.image_list:
        return _open_listed(s3, conf, uri, listing_of)
    if conf.label_tables:
        return _open_tables(s3, conf, uri, listing_of, None)
    return _open_folders(conf, uri, listing_of(bucket_and_prefix(uri)[0]))


def _open_listed(s3: S3Client, conf: DatasetConf, uri: str, listing_of: ListingOf) -> ImageSource:
    image_list = read_image_list(s3, conf.image_list, uri)
    if conf.label_tables:
        listed = ListedImages(image_list, listing_of(image_list.bucket), uri)
        return _open_tables(s3, conf, uri, lambda _: listed, listed.image_list)
    if image_list.bucket != bucket_and_prefix(uri)[0]:
        check_under(image_list, uri)
    listed = ListedImages(image_list, listing_of(image_list.bucket), uri)
    check_under(listed.image_list, uri)
    return _open_folders(conf, uri, listed)


def _open_folders(conf: DatasetConf, uri: str, listing: Listing) -> ImageSource:
    if conf.layout == "split_folders":
        return SplitFolders(listing, uri, test_as=conf.split.test_as)
    return ClassFolders(listing, uri)


def _open_unpacked(s3: S3Client, conf: DatasetConf, data_bucket: str) -> ImageSource:
    places = [UnpackedLayout(data_bucket, conf.name, address) for address in conf.source]
    if conf.source_kind == "records":
        return open_records(
            s3, places, multi_label=conf.multi_label, negatives=conf.negatives, test_as=conf.split.test_as
        )
    if conf.label_tables:
        listing, uri = archive_root(s3, places[0], conf.layout)
        return _open_tables(s3, conf, uri, lambda _: listing, None)
    return open_archives(s3, places, layout=conf.layout, test_as=conf.split.test_as)


def _open_tables(
    s3: S3Client, conf: DatasetConf, uri: str, listing_of: ListingOf, image_list: ImageList | None
) -> ImageSource:
    return LabelledObjects(
        listing_of,
        uri,
        read_label_tables(s3, conf.label_tables, _class_names(s3, conf), conf.ground_truth),
        image_list=image_list,
        multi_label=conf.multi_label,
        negatives=conf.negatives,
        test_as=conf.split.test_as,
    )


def _class_names(s3: S3Client, conf: DatasetConf) -> ClassNames | None:
    """The names behind the numbers of a ``.lst``."""
    if conf.labels_file:
        return ClassNames(
            f"dataset.labels_file {conf.labels_file}", read_labels_file(s3, conf.labels_file), complete=True
        )
    return ClassNames("dataset.labels", conf.labels, complete=False) if conf.labels else None

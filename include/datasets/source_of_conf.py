"""Which source a run conf means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.datasets.class_folders import ClassFolders
from include.datasets.errors import DatasetError
from include.datasets.labelled_objects import LabelledObjects
from include.datasets.source import ImageSource
from include.datasets.split_folders import SplitFolders

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf


def open_source(s3: S3Client, conf: DatasetConf, data_bucket: str) -> ImageSource:
    """Look at the source of a run conf: its label table where it names one, else its folders.

    Raises DatasetError where the source is not what the conf says, or cannot give what it asks for.
    """
    (uri, *_), test_as = conf.addresses(data_bucket), conf.split.test_as
    if conf.label_tables:
        (table,) = conf.label_tables
        source = LabelledObjects(s3, uri, table, multi_label=conf.multi_label, test_as=test_as)
        if conf.split.train_per_class and source.given_splits:
            raise DatasetError(
                f"dataset.split.train_per_class = {conf.split.train_per_class}, but dataset.label_tables "
                f"{table} has splits: remove its column 'split', or leave the field empty"
            )
        return source
    if conf.multi_label:
        raise DatasetError(
            "dataset.multi_label is true, but folders give every image one label: name dataset.label_tables "
            "(CSV, Parquet or JSON Lines) that lists images with their labels"
        )
    return SplitFolders(s3, uri, test_as=test_as) if conf.layout == "split_folders" else ClassFolders(s3, uri)

"""A source that is split already: ``s3://bucket/prefix/SPLIT/CLASS/.../image``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from include.datasets.class_folders import ClassFolders, list_folder
from include.datasets.errors import DatasetError
from include.datasets.given_splits import SPLIT_NAMES, named_split
from include.datasets.layout import Split
from include.datasets.manifest import IGNORED
from include.datasets.source import LeftOut, SourceImage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)


class SplitFolders:
    """Class folders inside a folder for each split; a class is one wherever it has a folder.

    ``test_as`` is the split of the images that the source calls test. Raises DatasetError where no folder is named for
    training.
    """

    def __init__(self, s3: S3Client, uri: str, *, test_as: Split = "test") -> None:
        top = list_folder(s3, uri)
        splits = {folder: named_split(folder, test_as=test_as) for folder in top.folders}
        if "train" not in splits.values():
            raise DatasetError(
                f"dataset.layout is split_folders, but {uri} has no folder {' or '.join(_names('train'))} "
                f"(it has {', '.join(top.folders[:10]) or 'none'}): put class folders into {uri}train/, or use "
                "class_folders"
            )
        foreign = [folder for folder, split in splits.items() if split is None]
        if foreign:
            logger.warning("%s has folders that are no splits and are not looked at: %s", uri, ", ".join(foreign))
        self.uri = uri
        self.class_place = f"{uri}train/CLASS/"
        self._parts = [
            ClassFolders(s3, f"{uri}{folder}/", split=split) for folder, split in splits.items() if split is not None
        ]
        self._loose = top.loose
        self.given_splits = frozenset(split for split in splits.values() if split is not None)
        self.classes = tuple(sorted({label for part in self._parts for label in part.classes}))

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """List the objects of the classes, split after split."""
        wanted = list(labels)
        for part in self._parts:
            yield from part.images(wanted)

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """List the objects beside the split folders, and beside the class folders in them."""
        for image in self._loose:
            yield LeftOut(image, IGNORED, "it lies beside the split folders, so it has no label")
        for part in self._parts:
            yield from part.left_out(labels)


def _names(split: Split) -> list[str]:
    return [name for name, named in SPLIT_NAMES.items() if named == split]

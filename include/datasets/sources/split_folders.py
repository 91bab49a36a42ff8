"""A source that is split already: ``s3://bucket/prefix/SPLIT/CLASS/.../image``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from include.datasets.errors import DatasetError
from include.datasets.layout import Split
from include.datasets.manifest import IGNORED, MISSING
from include.datasets.planning.given_splits import SPLIT_NAMES, named_split
from include.datasets.sources.class_folders import (
    NAMED_AND_ABSENT,
    ClassFolders,
    bucket_and_prefix,
    ignored_folder,
    left_out,
    source_image,
)
from include.datasets.sources.listing import Listing
from include.datasets.sources.source import LeftOut, SourceImage
from include.datasets.sources.system_files import system_name

logger = logging.getLogger(__name__)


class SplitFolders:
    """Class folders inside a folder for each split; a class is one wherever it has a folder.

    ``test_as`` is the split of the images that the source calls test. Raises DatasetError where no folder is named for
    training.
    """

    def __init__(self, listing: Listing, uri: str, *, test_as: Split = "test") -> None:
        bucket, prefix = bucket_and_prefix(uri)
        top = listing.folder(prefix)
        splits = {folder: named_split(folder, test_as=test_as) for folder in top.folders}
        if not top.folders and (unmatched := listing.unmatched()):
            raise DatasetError(f"no image of {uri} is there.\n{unmatched}")
        if "train" not in splits.values():
            raise DatasetError(
                f"dataset.layout is split_folders, but {uri} has no folder {' or '.join(_names('train'))} "
                f"(it has {', '.join(top.folders[:10]) or 'none'}): put class folders into {uri}train/, or use "
                "class_folders"
            )
        self._foreign = [folder for folder, split in splits.items() if split is None]
        shown = [folder for folder in self._foreign if system_name(folder) is None]
        if shown:
            logger.warning("%s has folders that are not splits and are ignored: %s", uri, ", ".join(shown))
        self.uri = uri
        self._listing = listing
        self._bucket, self._prefix = bucket, prefix
        self._folders = frozenset(top.folders)
        self.class_place = f"{uri}train/CLASS/"
        self._parts = [
            ClassFolders(listing, f"{uri}{folder}/", split=split)
            for folder, split in splits.items()
            if split is not None
        ]
        self._loose = [source_image(bucket, listed) for listed in top.loose]
        self.given_splits = frozenset(split for split in splits.values() if split is not None)
        self.classes = tuple(sorted({label for part in self._parts for label in part.classes}))

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """List the objects of the classes, split after split."""
        wanted = list(labels)
        for part in self._parts:
            yield from part.images(wanted)

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """List the objects beside the split folders, what each split leaves out, and what is not there."""
        wanted = list(labels)
        for image in self._loose:
            reason = "it lies beside the split folders, so it has no label"
            yield left_out(image, below=image.key[len(self._prefix) :], status=IGNORED, reason=reason)
        for folder in self._foreign:
            reason = "its folder is not named for a split"
            yield from ignored_folder(self._listing, self._prefix, folder, reason)
        for part in self._parts:
            yield from part.left_out(wanted)
        for key in self._listing.absent(self._prefix):
            below = key[len(self._prefix) :]
            if below.partition("/")[0] not in self._folders:
                image = SourceImage(self._bucket, key, "", 0, ())
                yield left_out(image, below=below, status=MISSING, reason=NAMED_AND_ABSENT)

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:  # noqa: ARG002  (an image has one label)
        """Name nothing: images of labels that were not asked for are left out."""
        return {}

    def unmatched(self) -> str:
        """Explain why lines of an image list name no object."""
        return self._listing.unmatched()


def _names(split: Split) -> list[str]:
    return [name for name, named in SPLIT_NAMES.items() if named == split]

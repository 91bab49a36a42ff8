"""Sources whose labels are folders: `s3://bucket/prefix/CLASS/.../image`, and where the source is split already
`s3://bucket/prefix/SPLIT/CLASS/.../image`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from include.datasets.errors import DatasetError
from include.datasets.layout import SPLIT_NAMES, Split, bucket_and_prefix, named_split
from include.datasets.source_image import (
    CLASS_NOT_ASKED,
    NAMED_AND_ABSENT,
    LeftOut,
    SourceImage,
    Status,
    system_name,
    system_reason,
)
from include.datasets.sources.listing import Listing

log = logging.getLogger(__name__)

LISTING_THREADS = 8
NO_CLASS = "it is beside the class folders, so it has no label"


class ClassFolders:
    """A source whose labels are the names of the folders right under its prefix.

    `split` is the split of all its images, where they are one part of a source that is split already.
    """

    def __init__(self, listing: Listing, uri: str, *, split: Split | None = None) -> None:
        self._listing = listing
        self._split = split
        self.bucket, self.prefix = bucket_and_prefix(uri)
        self.uri = f"s3://{self.bucket}/{self.prefix}"
        self.class_place = f"{self.uri}CLASS/"
        self.given_splits: frozenset[Split] = frozenset()
        top = listing.folder(self.prefix)
        self.classes = tuple(folder for folder in top.folders if system_name(folder) is None)
        self._system_folders = tuple(folder for folder in top.folders if system_name(folder) is not None)
        self._loose = top.loose
        self._system_files: dict[str, list[LeftOut]] = {}

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """List the objects of the classes that have a folder, class after class, in the order of their keys."""
        yield from self._of_classes(self._present(labels))

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """List the objects beside the class folders, those of other classes, hidden and system files, and what the
        listing promises in the classes and is not there.
        """
        asked = list(labels)
        for listed in self._loose:
            yield LeftOut.of(
                listed.as_image(self.bucket),
                below=listed.key[len(self.prefix) :],
                status=Status.IGNORED,
                reason=NO_CLASS,
            )
        present = self._present(asked)
        others = [label for label in self.classes if label not in set(asked)]
        for image in self._of_classes(others):
            yield LeftOut(image, Status.NOT_ASKED, CLASS_NOT_ASKED)
        for folder in self._system_folders:
            yield from _ignored_folder(self._listing, self.prefix, folder, NO_CLASS)
        for label in (*present, *others):
            if label not in self._system_files:
                self._list_class(label)
            yield from self._system_files[label]
        yield from self._absent(set(asked))

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:  # noqa: ARG002  (an image has one label)
        """Nothing: images of labels that were not asked for are left out."""
        return {}

    def unmatched(self) -> str:
        """Explain why lines of an image list name no object."""
        return self._listing.unmatched()

    def _absent(self, asked: set[str]) -> Iterator[LeftOut]:
        known = set(self.classes)
        for key in self._listing.absent(self.prefix):
            below = key[len(self.prefix) :]
            label, slash, _ = below.partition("/")
            if not slash or label in asked or label not in known:
                names = (label,) if slash and label in asked else ()
                image = SourceImage(self.bucket, key, "", 0, names, self._split)
                yield LeftOut.of(image, below=below, status=Status.MISSING, reason=NAMED_AND_ABSENT)

    def _present(self, labels: Iterable[str]) -> list[str]:
        folders = set(self.classes)
        return [label for label in labels if label in folders]

    def _of_classes(self, labels: Sequence[str]) -> Iterator[SourceImage]:
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            for images in pool.map(self._list_class, labels):
                yield from images

    def _list_class(self, label: str) -> list[SourceImage]:
        """List a class, and keep what of it is hidden or a system's: nothing is listed twice for it."""
        images: list[SourceImage] = []
        system_files: list[LeftOut] = []
        for listed in self._listing.objects(f"{self.prefix}{label}/"):
            name = system_name(listed.key[len(self.prefix) :])
            if name is None:
                images.append(listed.as_image(self.bucket, (label,), self._split))
            else:
                system_files.append(LeftOut(listed.as_image(self.bucket), Status.SYSTEM_FILE, system_reason(name)))
        self._system_files[label] = system_files
        return images


def _ignored_folder(listing: Listing, prefix: str, folder: str, reason: str) -> Iterator[LeftOut]:
    """All objects of a folder under a prefix that is neither a class nor a split."""
    for listed in listing.objects(f"{prefix}{folder}/"):
        image = listed.as_image(listing.bucket)
        yield LeftOut.of(image, below=listed.key[len(prefix) :], status=Status.IGNORED, reason=reason)


class SplitFolders:
    """Class folders inside a folder for each split; a class is one wherever it has a folder.

    `test_as` is the split of the images that the source calls test. Raises DatasetError where no folder is named for
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
            log.warning("%s has folders that are not splits and are ignored: %s", uri, ", ".join(shown))
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
        self._loose = [listed.as_image(bucket) for listed in top.loose]
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
            reason = "it is beside the split folders, so it has no label"
            yield LeftOut.of(image, below=image.key[len(self._prefix) :], status=Status.IGNORED, reason=reason)
        for folder in self._foreign:
            reason = "its folder is not named for a split"
            yield from _ignored_folder(self._listing, self._prefix, folder, reason)
        for part in self._parts:
            yield from part.left_out(wanted)
        for key in self._listing.absent(self._prefix):
            below = key[len(self._prefix) :]
            if below.partition("/")[0] not in self._folders:
                image = SourceImage(self._bucket, key, "", 0, ())
                yield LeftOut.of(image, below=below, status=Status.MISSING, reason=NAMED_AND_ABSENT)

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:  # noqa: ARG002  (an image has one label)
        """Nothing: images of labels that were not asked for are left out."""
        return {}

    def unmatched(self) -> str:
        """Explain why lines of an image list name no object."""
        return self._listing.unmatched()


def _names(split: Split) -> list[str]:
    return [name for name, named in SPLIT_NAMES.items() if named == split]

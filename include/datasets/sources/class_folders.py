"""Class folders under an S3 prefix: ``s3://bucket/prefix/CLASS/.../image``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from include.datasets.layout import Split, parse_s3_uri
from include.datasets.manifest import IGNORED, MISSING, NOT_ASKED
from include.datasets.sources.listing import Listing
from include.datasets.sources.object_lookup import ListedObject
from include.datasets.sources.source import LeftOut, SourceImage
from include.datasets.sources.system_files import SYSTEM, system_name, system_reason

LISTING_THREADS = 8
NAMED_AND_ABSENT = "dataset.image_list names it, but it is not there"
NO_CLASS = "it lies beside the class folders, so it has no label"
CLASS_NOT_ASKED = "its class is not one of the version's labels"


class ClassFolders:
    """A source whose labels are the names of the folders right under its prefix.

    ``split`` is the split of all its images, where they are one part of a source that is split already.
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
            yield left_out(
                source_image(self.bucket, listed),
                below=listed.key[len(self.prefix) :],
                status=IGNORED,
                reason=NO_CLASS,
            )
        present = self._present(asked)
        others = [label for label in self.classes if label not in set(asked)]
        for image in self._of_classes(others):
            yield LeftOut(image, NOT_ASKED, CLASS_NOT_ASKED)
        for folder in self._system_folders:
            yield from ignored_folder(self._listing, self.prefix, folder, NO_CLASS)
        for label in (*present, *others):
            if label not in self._system_files:
                self._list_class(label)
            yield from self._system_files[label]
        yield from self._absent(set(asked))

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:  # noqa: ARG002  (an image has one label)
        """Name nothing: images of labels that were not asked for are left out."""
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
                yield left_out(image, below=below, status=MISSING, reason=NAMED_AND_ABSENT)

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
        to_image = partial(source_image, self.bucket, labels=(label,), split=self._split)
        for listed in self._listing.objects(f"{self.prefix}{label}/"):
            name = system_name(listed.key[len(self.prefix) :])
            if name is None:
                images.append(to_image(listed))
            else:
                system_files.append(LeftOut(source_image(self.bucket, listed), SYSTEM, system_reason(name)))
        self._system_files[label] = system_files
        return images


def source_image(
    bucket: str, listed: ListedObject, labels: tuple[str, ...] = (), split: Split | None = None
) -> SourceImage:
    """Return a listed object as an image with labels."""
    return SourceImage(bucket, listed.key, listed.etag, listed.size, labels, split)


def left_out(image: SourceImage, *, below: str, status: str, reason: str) -> LeftOut:
    """An object that is left out: as a hidden or system file where its path below the source is one."""
    name = system_name(below)
    return LeftOut(image, status, reason) if name is None else LeftOut(image, SYSTEM, system_reason(name))


def ignored_folder(listing: Listing, prefix: str, folder: str, reason: str) -> Iterator[LeftOut]:
    """All objects of a folder under a prefix that is neither a class nor a split."""
    for listed in listing.objects(f"{prefix}{folder}/"):
        image = source_image(listing.bucket, listed)
        yield left_out(image, below=listed.key[len(prefix) :], status=IGNORED, reason=reason)


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Split a source's address into its bucket and a key prefix that ends with a slash, or is empty."""
    bucket, prefix = parse_s3_uri(uri)
    return bucket, prefix if prefix.endswith("/") or not prefix else f"{prefix}/"

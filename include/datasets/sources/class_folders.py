"""Class folders under an S3 prefix: ``s3://bucket/prefix/CLASS/.../image``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from include.datasets.layout import Split, parse_s3_uri
from include.datasets.manifest import IGNORED, MISSING
from include.datasets.sources.listing import Listing
from include.datasets.sources.object_lookup import ListedObject
from include.datasets.sources.source import LeftOut, SourceImage

LISTING_THREADS = 8
NAMED_AND_ABSENT = "dataset.image_list names it, but it is not there"


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
        self.classes = top.folders
        self._loose = top.loose

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """List the objects of the classes that have a folder, class after class, in the order of their keys."""
        folders = set(self.classes)
        present = [label for label in labels if label in folders]
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            for images in pool.map(self._list_class, present):
                yield from images

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """List the objects beside the class folders, and what the listing promises in those asked for and is not there.

        Folders that nobody asked for are not looked into.
        """
        for listed in self._loose:
            image = source_image(self.bucket, listed)
            yield LeftOut(image, IGNORED, "it lies beside the class folders, so it has no label")
        asked, known = set(labels), set(self.classes)
        for key in self._listing.absent(self.prefix):
            label, slash, _ = key[len(self.prefix) :].partition("/")
            if not slash or label in asked or label not in known:
                names = (label,) if slash and label in asked else ()
                image = SourceImage(self.bucket, key, "", 0, names, self._split)
                yield LeftOut(image, MISSING, NAMED_AND_ABSENT)

    def _list_class(self, label: str) -> list[SourceImage]:
        return [
            source_image(self.bucket, listed, (label,), self._split)
            for listed in self._listing.objects(f"{self.prefix}{label}/")
        ]


def source_image(
    bucket: str, listed: ListedObject, labels: tuple[str, ...] = (), split: Split | None = None
) -> SourceImage:
    """Return a listed object as an image with labels."""
    return SourceImage(bucket, listed.key, listed.etag, listed.size, labels, split)


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Split a source's address into its bucket and a key prefix that ends with a slash, or is empty."""
    bucket, prefix = parse_s3_uri(uri)
    return bucket, prefix if prefix.endswith("/") or not prefix else f"{prefix}/"

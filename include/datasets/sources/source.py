"""Which source a run conf means, and the sources whose labels are folders.

A source is folders or label tables of a bucket, an inventory or an image list, unpacked archives or record files; here
is also the one source that several of them make together. Folders are `s3://bucket/prefix/CLASS/.../image`, and where
the source is split already `s3://bucket/prefix/SPLIT/CLASS/.../image`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from include.datasets.errors import DatasetError
from include.datasets.labels import read_labels_file
from include.datasets.layout import (
    SPLIT_NAMES,
    Split,
    UnpackedLayout,
    UnpackedRecords,
    bucket_and_prefix,
    load_unpacked,
    named_split,
    unpacked_path,
)
from include.datasets.source_image import (
    CLASS_NOT_ASKED,
    NAMED_AND_ABSENT,
    ImageSource,
    LeftOut,
    SourceImage,
    Status,
    system_name,
    system_reason,
)
from include.datasets.sources.image_list import ImageList, ListedImages, check_under, read_image_list
from include.datasets.sources.inventory import Inventory
from include.datasets.sources.label_table import ClassNames, read_label_tables
from include.datasets.sources.labelled_objects import LabelledObjects
from include.datasets.sources.listing import ArchivedObjects, Listing, LiveBucket
from include.run_conf.dataset import Negatives, SourceLayout

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

log = logging.getLogger(__name__)

ListingOf = Callable[[str], Listing]
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def open_source(
    s3: S3Client, conf: DatasetConf, data_bucket: str, archived: ArchivedObjects | None = None
) -> ImageSource:
    """Look at the source of a run conf: its label tables where it names some, else its folders.

    Archives and record files have to be unpacked before. Raises DatasetError where the source is not what the conf
    says, or cannot give what it asks for. `archived` receives listed objects that have to be restored first.
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
        return _open_records(
            s3, places, multi_label=conf.multi_label, negatives=conf.negatives, test_as=conf.split.test_as
        )
    if conf.label_tables:
        listing, uri = _archive_root(s3, places[0], conf.layout)
        return _open_tables(s3, conf, uri, lambda _: listing, None)
    return _open_archives(s3, places, layout=conf.layout, test_as=conf.split.test_as)


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
    """The names behind the numbers of a `.lst`."""
    if conf.labels_file:
        return ClassNames(
            f"dataset.labels_file {conf.labels_file}", read_labels_file(s3, conf.labels_file), complete=True
        )
    return ClassNames("dataset.labels", conf.labels, complete=False) if conf.labels else None


@dataclass(frozen=True, slots=True)
class UnitedSources:
    """Sources one after the other: a class is one in all of them, and all of them say which images are of a split."""

    parts: tuple[ImageSource, ...]
    uri: str
    class_place: str
    classes: tuple[str, ...]
    beside: Callable[[], Iterable[LeftOut]] = tuple
    """What archives hold and was not unpacked."""

    @property
    def given_splits(self) -> frozenset[Split]:
        """The splits that any of the sources names."""
        return frozenset().union(*(part.given_splits for part in self.parts))

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """List the images of each source in turn."""
        wanted = list(labels)
        for part in self.parts:
            yield from part.images(wanted)

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """List what each source leaves out."""
        wanted = list(labels)
        for part in self.parts:
            yield from part.left_out(wanted)
        yield from self.beside()

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:
        """Count what each source counts."""
        wanted = list(labels)
        return dict(sum((Counter(part.unused_labels(wanted)) for part in self.parts), Counter()))

    def unmatched(self) -> str:
        """Explain what the first source explains."""
        return next(filter(None, (part.unmatched() for part in self.parts)), "")


def _open_archives(
    s3: S3Client, places: Sequence[UnpackedLayout], *, layout: SourceLayout, test_as: Split = "test"
) -> ImageSource:
    """Open the folders in unpacked archives. Raises DatasetError if one is not unpacked or has no such folders."""
    parts: list[ImageSource] = []
    for place in places:
        listing, uri = _archive_root(s3, place, layout)
        parts.append(
            SplitFolders(listing, uri, test_as=test_as) if layout == "split_folders" else ClassFolders(listing, uri)
        )
    classes = sorted({label for part in parts for label in part.classes})
    united = _united(parts, places, classes, "a class folder of the archive")
    return replace(united, beside=lambda: (out for place in places for out in _system_members(s3, place)))


def _system_members(s3: S3Client, place: UnpackedLayout) -> Iterator[LeftOut]:
    """The hidden and system files of an archive, under the keys they would have had."""
    if not load_unpacked(s3, place).left_out.get(Status.SYSTEM_FILE):
        return
    body = s3.get_object(Bucket=place.bucket, Key=place.left_out)["Body"]
    members = (json.loads(line) for line in body.iter_lines())
    reasons = {
        unpacked_path(member["path"]): member["reason"] for member in members if member["status"] == Status.SYSTEM_FILE
    }
    for path, reason in reasons.items():
        yield LeftOut(SourceImage(place.bucket, f"{place.images}{path}", "", 0, ()), Status.SYSTEM_FILE, reason)


def _archive_root(s3: S3Client, place: UnpackedLayout, layout: SourceLayout) -> tuple[Listing, str]:
    """The address under which an archive's folders begin, and a listing of its bucket.

    A folder that holds all others is stepped into, and the next one; files beside it that are not images, such as a
    licence, do not hold that up.
    """
    load_unpacked(s3, place)
    listing = LiveBucket(s3, place.bucket, field="dataset.source", uri=place.shown)
    prefix = place.images
    while (inner := _only_folder(listing, prefix, layout)) is not None:
        prefix = inner
    if prefix != place.images:
        log.info("%s: its folders are in %s", place.shown, prefix.removeprefix(place.images))
    return listing, f"s3://{place.bucket}/{prefix}"


def _open_records(
    s3: S3Client,
    places: Sequence[UnpackedLayout],
    *,
    multi_label: bool,
    negatives: Negatives = "keep",
    test_as: Split = "test",
) -> ImageSource:
    """Open unpacked record files by the tables of their labels.

    Raises DatasetError if one is not unpacked, has labels of another width than the others, or of another kind than
    the run conf says.
    """
    summaries = [_records_of(s3, place) for place in places]
    first = summaries[0]
    for place, records in zip(places, summaries, strict=True):
        if records.label_width != first.label_width:
            raise DatasetError(
                f"dataset.source: {place.shown} has {records.label_width} labels a record, {places[0].shown} "
                f"{first.label_width}: all files must have the same number; name those that belong together"
            )
    if (first.label_width > 1) != multi_label:
        raise DatasetError(
            f"dataset.multi_label is {str(multi_label).lower()}, but {places[0].shown} has {first.label_width} labels "
            f"a record: set it to {str(not multi_label).lower()}"
        )
    tables = read_label_tables(s3, [f"s3://{place.bucket}/{place.labels}" for place in places])
    shown = ", ".join(place.shown for place in places)
    part = LabelledObjects(
        lambda bucket: LiveBucket(s3, bucket, field="dataset.source", uri=shown),
        places[0].images_uri,
        tables,
        multi_label=multi_label,
        negatives=negatives,
        test_as=test_as,
    )
    return _united([part], places, _class_order(summaries), "a record file")


def _records_of(s3: S3Client, place: UnpackedLayout) -> UnpackedRecords:
    records = load_unpacked(s3, place).records
    if records is None:
        raise DatasetError(f"dataset.source: {place.shown} is not a record file: name one that ends in .rec")
    return records


def _class_order(summaries: Sequence[UnpackedRecords]) -> list[str]:
    named = next((records.classes for records in summaries if records.names), None)
    if named is not None:
        return named
    return sorted({name for records in summaries for name in records.classes}, key=int)


def _united(
    parts: Sequence[ImageSource], places: Sequence[UnpackedLayout], classes: Sequence[str], class_place: str
) -> UnitedSources:
    uri = ", ".join(place.shown for place in places)
    return UnitedSources(tuple(parts), uri, class_place, tuple(classes))


def _only_folder(listing: Listing, prefix: str, layout: SourceLayout) -> str | None:
    folder = listing.folder(prefix)
    folders = [name for name in folder.folders if system_name(name) is None]
    loose = (entry.key for entry in folder.loose if system_name(entry.key[len(prefix) :]) is None)
    if len(folders) != 1 or any(key.lower().endswith(IMAGE_ENDINGS) for key in loose):
        return None
    (name,) = folders
    if layout == "split_folders" and named_split(name):
        return None
    inner = f"{prefix}{name}/"
    # A folder without folders is a class.
    return inner if listing.folder(inner).folders else None


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
                f"dataset.layout is split_folders, but {uri} has no folder {' or '.join(_names_of_split('train'))} "
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


def _names_of_split(split: Split) -> list[str]:
    return [name for name, named in SPLIT_NAMES.items() if named == split]

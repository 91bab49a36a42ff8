"""A source image as it was listed; and what is none: the hidden and system files that computers leave beside images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, assert_never

from include.datasets.layout import Split

NAMED_AND_ABSENT = "dataset.image_list names it, but it is not there"
CLASS_NOT_ASKED = "its class is not one of the version's labels"
SYSTEM_NAMES = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "$recycle.bin",
        "system volume information",
        "found.000",
        "__macosx",
        "icon\r",
        "network trash folder",
        "temporary items",
        "@eadir",
        "#recycle",
        "#snapshot",
        "lost+found",
    }
)
"""Files and folders of Windows, macOS, Synology and Linux in lower case; upper and lower case are the same."""
FOLDER_MARKER = "_$folder$"
"""The end of the empty objects that Hadoop writes for folders."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a status reports about an image."""

    meant: bool = True
    """It was to be packed, and counts among a version's images."""
    bad: bool = False
    """It was to be packed and could not be."""
    known: bool = False
    """The version knows it; of all others the next version knows nothing."""
    by_content: bool = False
    """The bytes of the image alone decide: the next version does not read them again."""


class Status(StrEnum):
    """What became of a source image: the column `status` of `manifest.parquet` (docs/reference/datasets.md)."""

    PLANNED = "planned"
    """A shard has to pack it; no published manifest has this."""
    PACKED = "packed"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    EMPTY = "empty"
    CORRUPT = "corrupt"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED = "unsupported"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    MISSING = "missing"
    CHANGED = "changed"
    IGNORED = "ignored"
    NOT_ASKED = "not_asked"
    SKIPPED = "skipped"
    UNLABELLED = "unlabelled"
    REMOVED = "removed"
    SYSTEM_FILE = "system_file"
    """Also in the lists of what archives leave out."""

    @property
    def meaning(self) -> Meaning:
        """What follows from the status; mypy finds one that has no meaning."""
        match self:
            case Status.PLANNED:
                meaning = Meaning()
            case Status.PACKED:
                meaning = Meaning(known=True)
            case Status.CORRUPT | Status.NOT_AN_IMAGE | Status.UNSUPPORTED | Status.TOO_SMALL | Status.TOO_LARGE:
                meaning = Meaning(bad=True, known=True, by_content=True)
            case Status.CONFLICT | Status.EMPTY:
                meaning = Meaning(bad=True, known=True)
            case Status.MISSING | Status.CHANGED:
                meaning = Meaning(bad=True)
            case Status.DUPLICATE:
                meaning = Meaning(meant=False, known=True)
            case (
                Status.IGNORED
                | Status.NOT_ASKED
                | Status.SKIPPED
                | Status.UNLABELLED
                | Status.REMOVED
                | Status.SYSTEM_FILE
            ):
                meaning = Meaning(meant=False)
            case _:
                assert_never(self)
        return meaning


CONTENT_FAILURES = frozenset(status for status in Status if status.meaning.by_content)
"""What is wrong with the bytes of an image."""
BAD = frozenset(status for status in Status if status.meaning.bad)
"""Images that were meant to be packed and could not be."""
ACCOUNTED = frozenset(status for status in Status if status.meaning.known)
"""Images that a version knows."""
NOT_MEANT = frozenset(status for status in Status if not status.meaning.meant)
"""Objects that were not to be packed: they do not count among a version's images."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An object as it was listed; one that belongs to none of the classes has no labels."""

    bucket: str
    key: str
    etag: str
    """Without its quotes; empty if there is no such object."""
    size: int
    labels: tuple[str, ...]
    """Class names in the order of their index."""
    split: Split | None = None
    """What the source says; None leaves it to the shares."""

    @property
    def uri(self) -> str:
        """The object's address."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An object that is packed in no version of these labels: its status in the manifest, and why."""

    image: SourceImage
    status: Status
    reason: str

    @classmethod
    def of(cls, image: SourceImage, *, below: str, status: Status, reason: str) -> LeftOut:
        """Leave an object out: as a hidden or system file where its path `below` the source is one."""
        name = system_name(below)
        return cls(image, status, reason) if name is None else cls(image, Status.SYSTEM_FILE, system_reason(name))


class ImageSource(Protocol):
    """Where a dataset's images and their labels come from; nothing is read but listings and the label table."""

    @property
    def uri(self) -> str:
        """`dataset.source`, with its closing slash."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class the source knows, in the order they have where nobody orders them."""

    @property
    def class_place(self) -> str:
        """Where the images of a class belong, for who has to put them there."""

    @property
    def given_splits(self) -> frozenset[Split]:
        """The splits that the source itself names; none if the shares decide."""

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """List the images that belong to at least one of the classes."""

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """List the objects that belong to none of the classes, and what should be there and is not.

        Called after `images` of the same classes it lists nothing again.
        """

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:
        """Count by label the images that show it although it is none of the classes, and are packed for others or as
        images of none.
        """

    def unmatched(self) -> str:
        """Explain why lines of tables and lists name no object: some of them beside keys that exist, and what would
        make them meet. Empty where each names one.
        """


def system_name(path: str) -> str | None:
    """The first part of a path that is hidden or a system's: a file of that path is not data. None for all other paths.

    Hidden is what begins with a dot. The path is the one below the source, parted by slashes: what the source's own
    address holds does not matter.
    """
    # Nearly no path holds any of these, and a source has millions of them.
    if SYSTEM_NAMES.isdisjoint(path.lower().split("/")) and FOLDER_MARKER not in path and not _begins_with_dot(path):
        return None
    return next((part for part in path.split("/") if _is_system(part)), None)


def system_reason(name: str) -> str:
    """Why a file is left out, in the words of manifests and lists."""
    return f"a hidden or system file: {name!r}"


def _begins_with_dot(path: str) -> bool:
    return path.startswith(".") or "/." in path


def _is_system(part: str) -> bool:
    if part.startswith("."):
        return part not in (".", "..")
    return part.lower() in SYSTEM_NAMES or part.endswith(FOLDER_MARKER)

"""What a source gives: images as they were listed, with their labels and, where the source says it, their split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from include.datasets.errors import DatasetError
from include.datasets.layout import Split
from include.datasets.s3_faults import LIST, explained

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An object as it was listed; one that belongs to none of the classes has no labels."""

    bucket: str
    key: str
    etag: str
    """Without its quotes; empty where there is no such object."""
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
    status: str
    reason: str


class ImageSource(Protocol):
    """Where a dataset's images and their labels come from; nothing is read but listings and the label table."""

    @property
    def uri(self) -> str:
        """``dataset.source``, with its closing slash."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class the source knows, in the order they have where nobody orders them."""

    @property
    def class_place(self) -> str:
        """Where the images of a class belong, for who has to put them there."""

    @property
    def given_splits(self) -> frozenset[Split]:
        """The splits that the source itself tells apart; none where the shares decide."""

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """List the images that belong to at least one of the classes."""

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """List the objects that belong to none of the classes, and what should be there and is not.

        Called after ``images`` of the same classes it lists nothing again.
        """

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:
        """Count by label the images that show it although it is none of the classes, and are packed for others or as
        images of none.
        """

    def unmatched(self) -> str:
        """Explain why lines of tables and lists name no object: some of them beside keys that exist, and what would
        make them meet. Empty where each names one.
        """


def unlisted(field: str, uri: str, bucket: str, error: ClientError) -> DatasetError | ClientError:
    """Say in the words of the run conf why a bucket cannot be listed; ``field`` names the address."""
    code = error.response.get("Error", {}).get("Code")
    if code == "NoSuchBucket":
        return DatasetError(f"{field} {uri}: there is no bucket {bucket}; name the bucket that holds the images")
    refusal = explained(error, f"s3://{bucket}", LIST)
    return DatasetError(f"{field} {uri} {refusal}") if refusal else error

"""Which of the listed images are packed, each content once, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from include.datasets.known import KnownImages
from include.datasets.layout import Split
from include.datasets.manifest import CONFLICT, DUPLICATE, MISSING, ManifestRow
from include.datasets.source import LeftOut, SourceImage

HELD_OUT_FIRST: tuple[Split | None, ...] = ("test", "validation", "train", None)
"""Where a source gives the same bytes to several splits, they stay where they are held out."""


@dataclass(frozen=True, slots=True)
class Selection:
    """``chosen`` by ETag, in the order of their keys, and the rows of the images that no shard packs."""

    chosen: Mapping[str, SourceImage]
    excluded: list[ManifestRow]


def select_images(new: Iterable[SourceImage], left_out: Iterable[LeftOut], known: KnownImages) -> Selection:
    """Keep each content once; content under different labels is a conflict and is kept under none.

    Content is told by its ETag, which is the same for the same bytes unless they were uploaded in parts of other sizes
    or encrypted with a KMS key.
    """
    excluded = [
        ManifestRow.of(other.image, other.status, other.reason)
        for other in left_out
        if not known.has(other.image) and not (other.status == MISSING and known.has_packed(other.image))
    ]
    by_content: dict[str, list[SourceImage]] = {}
    for image in sorted(new, key=_held_out_first):
        if image.size == 0:
            excluded.append(ManifestRow.of(image, "empty", "the object has no bytes"))
        else:
            by_content.setdefault(image.etag, []).append(image)
    chosen: dict[str, SourceImage] = {}
    for etag, images in by_content.items():
        kept, others = _judge(images, etag, known)
        excluded += others
        if kept is not None:
            chosen[etag] = kept
    return Selection(chosen, excluded)


def _held_out_first(image: SourceImage) -> tuple[int, str, str]:
    return HELD_OUT_FIRST.index(image.split), image.bucket, image.key


def _judge(images: list[SourceImage], etag: str, known: KnownImages) -> tuple[SourceImage | None, list[ManifestRow]]:
    settled = known.contents.get(etag)
    first_uri, first_labels = (settled.uri, settled.labels) if settled else (images[0].uri, images[0].labels)
    other = next((image for image in images if set(image.labels) != set(first_labels)), None)
    if other is not None or (settled is not None and settled.conflict):
        first = f"{first_uri} ({', '.join(first_labels)})"
        witness = f"{other.uri} ({', '.join(other.labels)})" if other else first
        return None, [
            _conflict(image, witness if set(image.labels) == set(first_labels) else first) for image in images
        ]
    kept = None if settled else images[0]
    repeats = images if settled else images[1:]
    return kept, [ManifestRow.of(image, DUPLICATE, f"the same bytes as {first_uri}") for image in repeats]


def _conflict(image: SourceImage, other: str) -> ManifestRow:
    return ManifestRow.of(image, CONFLICT, f"the same bytes have another label at {other}")

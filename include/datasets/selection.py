"""Which of the listed images are packed, each content once, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from include.datasets.known import KnownImages
from include.datasets.manifest import CONFLICT, DUPLICATE, IGNORED, ManifestRow
from include.datasets.source import SourceImage


@dataclass(frozen=True, slots=True)
class Selection:
    """``chosen`` by ETag, in the order of their keys, and the rows of the images that no shard packs."""

    chosen: Mapping[str, SourceImage]
    excluded: list[ManifestRow]


def select_images(new: Iterable[SourceImage], loose: Iterable[SourceImage], known: KnownImages) -> Selection:
    """Keep each content once; content under two labels is a conflict and is kept under neither.

    Content is told by its ETag, which is the same for the same bytes unless they were uploaded in parts of other sizes
    or encrypted with a KMS key.
    """
    excluded = [
        ManifestRow.of(image, IGNORED, "it lies beside the class folders, so it has no label")
        for image in loose
        if not known.has(image)
    ]
    by_content: dict[str, list[SourceImage]] = {}
    for image in sorted(new, key=lambda image: (image.bucket, image.key)):
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


def _judge(images: list[SourceImage], etag: str, known: KnownImages) -> tuple[SourceImage | None, list[ManifestRow]]:
    settled = known.contents.get(etag)
    first_uri, first_label = (settled.uri, settled.label) if settled else (images[0].uri, images[0].labels[0])
    other = next((image for image in images if image.labels[0] != first_label), None)
    if other is not None or (settled is not None and settled.conflict):
        witness = f"{other.uri} ({other.labels[0]})" if other else f"{first_uri} ({first_label})"
        return None, [_conflict(image, (first_uri, first_label), witness) for image in images]
    kept = None if settled else images[0]
    repeats = images if settled else images[1:]
    return kept, [ManifestRow.of(image, DUPLICATE, f"the same bytes as {first_uri}") for image in repeats]


def _conflict(image: SourceImage, first: tuple[str, str], witness: str) -> ManifestRow:
    uri, label = first
    other = witness if image.labels[0] == label else f"{uri} ({label})"
    return ManifestRow.of(image, CONFLICT, f"the same bytes have another label at {other}")

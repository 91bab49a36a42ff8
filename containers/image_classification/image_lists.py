"""Image channels: pictures in one channel, their labels in a .lst file in another.

A .lst line is: index, one or more labels, path below the image channel; tab separated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .recordio import write_labelled_image

PROBLEMS_NAMED = 3


@dataclass(frozen=True)
class ListedImage:
    """One line of a .lst file."""

    identifier: int
    labels: tuple[float, ...]
    path: Path


def read_image_list(list_file: Path, images: Path) -> tuple[list[ListedImage], list[str]]:
    """The listed images that exist below `images`, and a sentence for what is wrong with the others."""
    listed: list[ListedImage] = []
    broken: list[str] = []
    try:
        text = list_file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as foreign:
        return [], [f"{list_file.name} is not UTF-8 text from byte {foreign.start} on: save it as UTF-8"]
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            listed.append(read_line(line, images))
        except ValueError as problem:
            broken.append(f"line {number} {problem}")
    if not broken:
        return listed, []
    named = ", ".join(broken[:PROBLEMS_NAMED])
    return listed, [f"{len(broken)} lines of {list_file.name} cannot be used: {named}"]


def read_line(line: str, images: Path) -> ListedImage:
    """One line; raises ValueError with what is wrong with it."""
    identifier, *labels, name = [field.strip() for field in line.split("\t")]
    if not labels:
        raise ValueError("needs an index, a label and a path, tab separated")
    try:
        parsed = int(identifier), tuple(float(label) for label in labels)
    except ValueError:
        raise ValueError(f"has no numeric index and labels: {line[:80]!r}") from None
    if not 0 <= parsed[0] < 1 << 64 or not np.isfinite(np.array(parsed[1], dtype=np.float32)).all():
        raise ValueError(f"needs an index of 64 bits and finite labels of 32 bits: {line[:80]!r}")
    path = images / name
    try:
        found = path.resolve().is_relative_to(images.resolve()) and path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, a zero byte, links in a circle
        found = False
    if not found:
        raise ValueError(f"names {name[:200]!r}, which is not in the channel")
    return ListedImage(*parsed, path)


def pack_listed_images(listed: list[ListedImage], record_file: Path) -> None:
    """Write the images, their bytes as they are, into one record file."""
    with record_file.open("wb") as stream:
        for image in listed:
            write_labelled_image(stream, image.identifier, image.labels, image.path.read_bytes())

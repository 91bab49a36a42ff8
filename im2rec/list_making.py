"""Make the `.lst` files of a folder (`im2rec --list`), byte for byte those of `im2rec.py --list`.

Source: `list_image`, `write_list` and `make_list` in MXNet 1.9.1's `tools/im2rec.py`.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from im2rec import FAILED, WRITTEN, WRITTEN_IN_PART, Say
from im2rec.new_files import new_files

_SEED = 100


def make_lists(parsed: argparse.Namespace, say: Say) -> int:
    """Write the lists of a root and return the exit status; labels of folders go to standard output."""
    root, prefix = Path(parsed.root), Path(parsed.prefix)
    try:
        contents = find_images(root, parsed.exts, recursive=parsed.recursive)
        for problem in contents.problems:
            say(f"{root}: {problem}")
        if not contents.images:
            say(f"{root}: no image with the extension {' or '.join(parsed.exts)}{_elsewhere(parsed)}")
            return FAILED
        if contents.problems and not parsed.skip_bad:
            say(f"{prefix}: {len(contents.problems):,} problems, no list is written; --skip-bad leaves them out")
            return FAILED
        lists = share_out(
            contents.images, ListShares(parsed.chunks, parsed.train_ratio, parsed.test_ratio), shuffle=parsed.shuffle
        )
        paths = write_lists(prefix, lists)
    except OSError as error:
        say(f"{error.filename or prefix}: {error.strerror}: no list is written")
        return FAILED
    for folder, label in contents.labels.items():
        sys.stdout.write(f"{folder} {label}\n")
    listed = {path: len(images) for path, (_, images) in zip(paths, lists, strict=True)}
    _tell(contents, listed, parsed, say)
    return WRITTEN_IN_PART if contents.problems else WRITTEN


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image below the root: its number in the order of names, its path, its folder's label."""

    id: int
    path: str
    label: int


@dataclass(slots=True)
class FolderContents:
    """What a folder holds: images, the label of each folder with images, other files by suffix, and what is wrong."""

    images: list[FoundImage] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ListShares:
    """How the images are shared out among lists: chunks, then parts of each chunk for training and for testing."""

    chunks: int = 1
    train: float = 1.0
    test: float = 0.0


def find_images(root: Path, suffixes: Sequence[str], *, recursive: bool) -> FolderContents:
    """Find the images of a folder, sorted by name, with a label for each folder where `recursive`.

    What cannot be listed (folders without permission, links that lead nowhere or back up, names a list cannot hold)
    stands in `problems`.
    """
    contents = FolderContents()
    for folder, name in _files(root, recursive=recursive, problem=contents.problems.append):
        full, suffix = os.path.join(folder, name), os.path.splitext(name)[1].lower()  # noqa: PTH118, PTH122
        relative = os.path.relpath(full, root)
        if suffix not in suffixes:
            contents.others[suffix] += 1
        elif not os.path.isfile(full):  # noqa: PTH113 - a Path for each of a million files takes seconds
            contents.problems.append(f"{relative}: a link that leads nowhere, or no file")
        elif (reason := _unlistable(relative)) is not None:
            contents.problems.append(f"{relative!r}: {reason}")
        else:
            label = contents.labels.setdefault(os.path.relpath(folder, root), len(contents.labels)) if recursive else 0
            contents.images.append(FoundImage(len(contents.images), relative, label))
    return contents


def share_out(
    images: Sequence[FoundImage], shares: ListShares, *, shuffle: bool
) -> list[tuple[str, Sequence[FoundImage]]]:
    """Share images out among lists: each list's suffix behind the prefix, and its images in order."""
    ordered = list(images)
    if shuffle:
        random.Random(_SEED).shuffle(ordered)  # noqa: S311 - the order that im2rec.py gives
    length = (len(ordered) + shares.chunks - 1) // shares.chunks
    lists: list[tuple[str, Sequence[FoundImage]]] = []
    for number in range(shares.chunks):
        chunk = ordered[number * length : (number + 1) * length]
        name = f"_{number}" if shares.chunks > 1 else ""
        lists += [(f"{name}{part}.lst", rows) for part, rows in _parts(chunk, length, shares)]
    return lists


def write_lists(prefix: Path, lists: Sequence[tuple[str, Sequence[FoundImage]]]) -> list[Path]:
    """Write lists behind a prefix, all or none, and return their paths. Raises OSError."""
    paths = [prefix.with_name(prefix.name + suffix) for suffix, _ in lists]
    with new_files(paths) as files:
        for file, (_, images) in zip(files, lists, strict=True):
            for image in images:
                line = f"{image.id}\t{image.label:f}\t{image.path}\n"
                file.write(line.encode(errors="surrogateescape"))
    return paths


def _tell(contents: FolderContents, listed: dict[Path, int], parsed: argparse.Namespace, say: Say) -> None:
    """Report lists without images and images without a list, which im2rec.py makes without a word."""
    for path, images in listed.items():
        if not images:
            say(f"{path}: no image is left for this list")
        elif not parsed.silent:
            say(f"{path}: {images:,} images")
    unlisted = len(contents.images) - sum(listed.values())
    if unlisted:
        say(f"{unlisted:,} images are in no list: shares of a list are rounded down")
    if contents.others and not parsed.silent:
        kinds = ", ".join(f"{count:,} {suffix or 'without one'}" for suffix, count in contents.others.most_common(5))
        say(f"{contents.others.total():,} files with other extensions are in no list: {kinds}")


def _elsewhere(parsed: argparse.Namespace) -> str:
    return " in it or below" if parsed.recursive else " in it; --recursive looks into its folders"


def _parts(chunk: Sequence[FoundImage], length: int, shares: ListShares) -> Iterator[tuple[str, Sequence[FoundImage]]]:
    """Share a chunk out; the last one may be shorter than `length`, of which im2rec.py takes the shares."""
    if shares.train == 1.0:
        yield "", chunk
        return
    train, test = int(length * shares.train), int(length * shares.test)
    if shares.test:
        yield "_test", chunk[:test]
    if shares.train + shares.test < 1.0:
        yield "_val", chunk[test + train :]
    yield "_train", chunk[test : test + train]


def _files(root: Path, *, recursive: bool, problem: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Folder and name of every file, folders and files by name."""
    if not recursive:
        yield from ((str(root), name) for name in sorted(os.listdir(root)) if not (root / name).is_dir())  # noqa: PTH208
        return

    def unreadable(error: OSError) -> None:
        problem(f"{os.path.relpath(error.filename, root)}: cannot be listed: {error.strerror}")

    for folder, folders, names in os.walk(root, followlinks=True, onerror=unreadable):
        for name in [name for name in folders if _leads_up(folder, name)]:
            problem(f"{os.path.relpath(os.path.join(folder, name), root)}: a link to a folder it stands in")  # noqa: PTH118
            folders.remove(name)
        folders.sort()
        yield from ((folder, name) for name in sorted(names))


def _leads_up(folder: str, name: str) -> bool:
    full = Path(folder, name)
    return full.is_symlink() and Path(folder).resolve().is_relative_to(full.resolve())


def _unlistable(path: str) -> str | None:
    if any(separator in path for separator in "\t\n\r"):
        return "a list cannot hold a name with a tab or a line break"
    if path != path.strip():
        return "a list loses the blanks around a path"
    return None

"""What ``im2rec --list`` does: find the images, share them out, write the lists, and tell what is in none."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from im2rec.list_making import FolderContents, ListShares, find_images, share_out, write_lists

WRITTEN, FAILED, WRITTEN_IN_PART = 0, 1, 3

_Say = Callable[[str], None]


def make_lists(parsed: argparse.Namespace, say: _Say) -> int:
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


def _tell(contents: FolderContents, listed: dict[Path, int], parsed: argparse.Namespace, say: _Say) -> None:
    """Tell of lists without images and of images without a list, which im2rec.py makes without a word."""
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

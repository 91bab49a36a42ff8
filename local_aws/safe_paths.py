"""Paths made of what a request names: job names, accounts, regions, keys of objects, members of archives."""

from __future__ import annotations

from pathlib import Path


class OutsideError(ValueError):
    """A name that leads out of its folder, or that cannot be the name of a file."""


def inside(folder: Path, *names: str) -> Path:
    """The path of `names` below `folder`, whose parts are divided by `/`.

    Every path that holds a word of a request is made here. Raises OutsideError for a part that is empty, `.`, `..`, has
    a zero byte or lone surrogate, and for a path that a link leads out of the folder.
    """
    parts = [part for name in names for part in name.split("/")]
    if any(not _is_file_name(part) for part in parts):
        raise OutsideError(f"{'/'.join(names)!r} is not a path inside a folder")
    path = folder.joinpath(*parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise OutsideError(f"{'/'.join(names)!r} leads out of its folder")
    return path


def _is_file_name(part: str) -> bool:
    try:
        part.encode()
    except UnicodeEncodeError:
        return False
    return part not in ("", ".", "..") and "\0" not in part

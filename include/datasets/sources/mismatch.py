"""Why lines name no object: some of them beside keys that exist, and what would make them meet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from include.datasets.sources.paths import folded, is_address, split_address

if TYPE_CHECKING:
    from include.datasets.sources.listing import Listing

SHOWN = 5
LINES = 1_000
KEYS = 20_000
"""So many lines and keys are compared."""


@dataclass(frozen=True, slots=True)
class UnmatchedLine:
    """A line whose path names no object."""

    place: str
    """Such as ``line 3``."""
    path: str


def explain_mismatch(lines: Sequence[UnmatchedLine], listing: Listing, prefix: str) -> str:
    """Five lines beside five keys, and a sentence about what would make them meet; empty where there are no lines."""
    if not lines:
        return ""
    source = f"s3://{listing.bucket}/{prefix}"
    keys = listing.sample(prefix, KEYS)
    remedy, examples = _remedy(lines[:LINES], keys, listing.bucket, prefix)
    if not remedy and prefix:
        elsewhere = listing.sample("", KEYS)
        remedy, examples = _remedy(lines[:LINES], elsewhere, listing.bucket, prefix)
        keys = keys or elsewhere
    if not remedy:
        remedy = (
            f"no key under {source} has the file name of one of these lines: correct dataset.source, or the lines"
            if listing.sample(prefix, 1)
            else f"there is no object under {source}: correct dataset.source"
        )
    left = [f"{line.place}: {line.path!r}" for line in lines[:SHOWN]]
    right = [f"s3://{listing.bucket}/{key}" for key in (examples or keys)[:SHOWN]]
    width = max(map(len, left))
    rows = "\n".join(f"  {line:<{width}} | {key}" for line, key in zip_longest(left, right, fillvalue=""))
    return f"lines that name no object | keys that exist\n{rows}\n{remedy}"


def _remedy(lines: Sequence[UnmatchedLine], keys: Sequence[str], bucket: str, prefix: str) -> tuple[str, list[str]]:
    """What would make most of the lines meet, and the keys that they would meet first."""
    said, examples = _other_beginning(lines, keys, bucket, prefix)
    return (said, examples) if said else _other_ending(lines, keys)


def _other_beginning(
    lines: Sequence[UnmatchedLine], keys: Sequence[str], bucket: str, prefix: str
) -> tuple[str, list[str]]:
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        by_name[folded(key.rpartition("/")[2])].append(key)
    beginnings: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for line in lines:
        path = _plain(line.path)
        near = by_name.get(folded(path.rpartition("/")[2]), ())
        if near:
            heads, key = max(((_heads(path, key), key) for key in near), key=lambda pair: -len(pair[0][0]))
            beginnings[heads].append(key)
    if not beginnings:
        return "", []
    (of_line, of_key), examples = max(beginnings.items(), key=lambda pair: len(pair[1]))
    if (of_line, of_key) == ("", prefix):
        return "write the lines as the keys are: several keys differ from a line in upper and lower case only", examples
    if is_address(lines[0].path):
        said = f"write s3://{bucket}/{of_key} where the lines begin with s3://{bucket}/{of_line}"
    elif not of_line:
        said = f"set dataset.source to s3://{bucket}/{of_key}"
    elif of_key == prefix:
        said = f"take {of_line!r} off the beginning of the lines"
    else:
        said = f"take {of_line!r} off the beginning of the lines, and set dataset.source to s3://{bucket}/{of_key}"
    return f"{said}: then {len(examples)} of {len(lines)} compared lines find a key", examples


def _other_ending(lines: Sequence[UnmatchedLine], keys: Sequence[str]) -> tuple[str, list[str]]:
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        by_stem[folded(PurePosixPath(key).stem)].append(key)
    endings: Counter[tuple[str, str]] = Counter()
    examples: list[str] = []
    for line in lines:
        path = PurePosixPath(_plain(line.path))
        suffix = path.suffix if folded(path.stem) in by_stem else ""
        named = by_stem.get(folded(path.stem if suffix else path.name))
        if named:
            endings[suffix, PurePosixPath(named[0]).suffix] += 1
            examples.append(named[0])
    if not endings:
        return "", []
    (of_line, of_key), count = endings.most_common(1)[0]
    said = f"write {of_key!r} where the lines end in {of_line!r}" if of_line else f"add {of_key!r} to the lines"
    return f"{said}: {count} of {len(lines)} compared lines have the name of a key with that ending", examples


def _plain(path: str) -> str:
    """A path with slashes as in keys, of an address the key."""
    if is_address(path):
        place = split_address(path)
        path = place[1] if place else path
    path = path.strip().replace("\\", "/")
    return path[2:] if path.startswith("./") else path


def _heads(path: str, key: str) -> tuple[str, str]:
    """What stands before the folders and the name that a path and a key end in alike."""
    ours, theirs = path.split("/"), key.split("/")
    same = 0
    while same < min(len(ours), len(theirs)) and folded(ours[-1 - same]) == folded(theirs[-1 - same]):
        same += 1
    return tuple("".join(f"{part}/" for part in parts[: len(parts) - same]) for parts in (ours, theirs))  # type: ignore[return-value]

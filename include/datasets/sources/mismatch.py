"""Why lines name no object: some of them beside keys that exist, and what would make them meet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
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
Heads = tuple[str, str]
"""What stands before the folders and the name that a path and a key end in alike: of the path, and of the key."""
SAME_BEGINNING = 0.9
"""The share of the lines with the file name of a key that have to begin alike, for a remedy that speaks of that."""
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
    beginnings: defaultdict[Heads, list[str]] = defaultdict(list)
    named: list[str] = []
    folders: set[str] = set()
    for line in lines:
        nearest = _nearest(_plain(line.path), by_name)
        named += [key for _, key in nearest[:1]]
        folders |= {key.rpartition("/")[0] for _, key in nearest}
        if len({heads for heads, _ in nearest}) == 1:
            beginnings[nearest[0][0]].append(nearest[0][1])
    if not named:
        return "", []
    heads, examples = max(beginnings.items(), key=lambda pair: len(pair[1]), default=(("", ""), []))
    if len(examples) < SAME_BEGINNING * len(named):
        return f"write the folders too: the file names of the lines are found in {len(folders)} folders", named
    if heads == ("", prefix):
        return "write the lines as the keys are: several keys differ from a line in upper and lower case only", examples
    said = _said_of_beginnings(heads, bucket, prefix, addresses=is_address(lines[0].path))
    return f"{said}: then {len(examples)} of {len(lines)} compared lines find a key", examples


def _said_of_beginnings(heads: Heads, bucket: str, prefix: str, *, addresses: bool) -> str:
    of_line, of_key = heads
    if addresses:
        return f"write s3://{bucket}/{of_key} where the lines begin with s3://{bucket}/{of_line}"
    source = "" if of_key == prefix else f"set dataset.source to s3://{bucket}/{of_key}"
    taken = f"take {of_line!r} off the beginning of the lines" if of_line else ""
    return ", and ".join(filter(None, (taken, source)))


def _nearest(path: str, by_name: Mapping[str, Sequence[str]]) -> list[tuple[Heads, str]]:
    """The keys with the file name of a path that have most of its folders, each with what the two begin with."""
    near = [(_heads(path, key), key) for key in by_name.get(folded(path.rpartition("/")[2]), ())]
    least = min((len(of_line) for (of_line, _), _ in near), default=0)
    return [(heads, key) for heads, key in near if len(heads[0]) == least]


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


def _heads(path: str, key: str) -> Heads:
    ours, theirs = path.split("/"), key.split("/")
    same = 0
    while same < min(len(ours), len(theirs)) and folded(ours[-1 - same]) == folded(theirs[-1 - same]):
        same += 1
    return tuple("".join(f"{part}/" for part in parts[: len(parts) - same]) for parts in (ours, theirs))  # type: ignore[return-value]

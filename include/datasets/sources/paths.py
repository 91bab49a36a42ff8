"""Which objects the paths in lists and tables mean: one way of reading them for every kind of document.

A path is read as im2rec reads it below its root, where the operating system resolves it: with ``./`` and ``../``, with
slashes twice, and with the backslashes of Windows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

from include.datasets.sources.object_lookup import ListedObject, common_folder

if TYPE_CHECKING:
    from include.datasets.sources.listing import Listing

S3_ADDRESS = re.compile(r"(?i:s3[an]?)://(?P<bucket>[^/]+)/(?P<key>.+)", re.DOTALL)
OBJECT_URL = re.compile(
    r"https://(?P<bucket>[a-z0-9.-]+)\.s3[.a-z0-9-]*\.amazonaws\.com(?:\.cn)?/(?P<key>[^?#]+)", re.DOTALL
)
COMPARED_PER_PATH = 10
COMPARED_AT_LEAST = 10_000
"""So many objects are listed at most to find one whose key differs in upper and lower case."""


def is_address(path: str) -> bool:
    """Whether a path says its bucket too."""
    return "://" in path


def split_address(address: str) -> tuple[str, str] | None:
    """Bucket and key of an object's address; None where it is not one of S3.

    ``s3a://`` and ``s3n://``, which Hadoop writes, and the object URL of the S3 console are understood too.
    """
    found = S3_ADDRESS.fullmatch(address)
    if found is not None:
        return found["bucket"], found["key"]
    found = OBJECT_URL.fullmatch(address)
    return (found["bucket"], unquote(found["key"])) if found is not None else None


def readings(path: str, prefix: str) -> list[str]:
    """The keys that a path may mean, the one that it is word for word first.

    ``prefix`` is the source's, below which a path is looked for before it is taken for a key in full; of an address it
    is empty. Then follow: without blanks around it, with its dots and slashes resolved, percent-decoded as S3's tools
    write keys, and with accents composed or decomposed, as macOS does.
    """
    roots = dict.fromkeys((prefix, ""))
    keys = [f"{root}{path}" for root in roots]
    for text in _texts(path):
        for root in roots:
            keys += [f"{root}{text}", *_resolved(root, text.replace("\\", "/"))]
    return list(dict.fromkeys(keys))


@dataclass(frozen=True, slots=True)
class OtherMatches:
    """What paths mean that are not keys word for word."""

    objects: dict[str, ListedObject] = field(default_factory=dict)
    """By path."""
    ambiguous: dict[str, list[str]] = field(default_factory=dict)
    """Keys by the path that differs from all of them in upper and lower case only."""


def match_otherwise(
    keys_of: Mapping[str, Sequence[str]], listing: Listing, prefix: str, taken: Collection[str]
) -> OtherMatches:
    """Find the objects of paths that are not keys word for word; ``taken`` are the keys that other paths are.

    ``keys_of`` has the readings of each path, of which the first with an object counts. Only where there is none, an
    object counts whose key differs in upper and lower case alone, if it is the only one and not taken.
    """
    found = listing.find(list({key for keys in keys_of.values() for key in keys}))
    objects = {path: found[key] for path, keys in keys_of.items() if (key := _first(keys, found)) is not None}
    rest = {path: keys for path, keys in keys_of.items() if path not in objects}
    ambiguous: dict[str, list[str]] = {}
    for path, candidates in _in_other_case(rest, listing, prefix, taken).items():
        if len(candidates) == 1:
            objects[path] = candidates[0]
        else:
            ambiguous[path] = [candidate.key for candidate in candidates]
    return OtherMatches(objects, ambiguous)


def folded(key: str) -> str:
    """A key without upper and lower case, and with its accents composed."""
    return unicodedata.normalize("NFC", key).casefold()


def _in_other_case(
    keys_of: Mapping[str, Sequence[str]], listing: Listing, prefix: str, taken: Collection[str]
) -> dict[str, list[ListedObject]]:
    paths_of: dict[str, list[str]] = {}
    for path, keys in keys_of.items():
        for key in {folded(key) for key in keys}:
            paths_of.setdefault(key, []).append(path)
    candidates: dict[str, list[ListedObject]] = {}
    if keys_of:
        most = max(COMPARED_AT_LEAST, COMPARED_PER_PATH * (len(keys_of) + len(taken)))
        scope = _scope([keys[0] for keys in keys_of.values()], listing, prefix)
        for listed in islice(listing.objects(scope), most):
            if listed.key not in taken:
                for path in paths_of.get(folded(listed.key), ()):
                    candidates.setdefault(path, []).append(listed)
    return candidates


def _scope(keys: Sequence[str], listing: Listing, prefix: str) -> str:
    """The folder in which keys of other case are looked for: the source's, else the lowest above all that is there."""
    if prefix and all(key.startswith(prefix) for key in keys):
        return prefix
    folder = common_folder(min(keys), max(keys)).removesuffix("/")
    while folder and next(listing.objects(f"{folder}/"), None) is None:
        folder = folder.rpartition("/")[0]
    return f"{folder}/" if folder else ""


def _texts(path: str) -> Iterator[str]:
    for text in dict.fromkeys((path, path.strip(), unquote(path), unquote_plus(path))):
        yield from dict.fromkeys((text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)))


def _resolved(root: str, path: str) -> Iterator[str]:
    """A path below a root as a key; none where it leads out of the bucket, or to nothing."""
    parts = root.split("/")[:-1]
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if parts:
        yield "/".join(parts)


def _first(keys: Sequence[str], found: Collection[str]) -> str | None:
    return next((key for key in keys if key in found), None)

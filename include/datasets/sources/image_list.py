"""Images that are named: how a path in a list or table is read, the list of all images, and why lines name no object.

A path is read as im2rec reads it below its root, where the operating system resolves it: with `./` and `../`, with
slashes twice, and with the backslashes of Windows. Label tables are read so too.
"""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

from include.datasets.errors import DatasetError
from include.datasets.labels import read_document, text_lines
from include.datasets.layout import bucket_and_prefix
from include.datasets.sources.listing import Folder, ListedObject, Listing, ObjectTable, common_folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


log = logging.getLogger(__name__)

FIELD = "dataset.image_list"
EXAMPLES = 10
S3_ADDRESS = re.compile(r"(?i:s3[an]?)://(?P<bucket>[^/]+)/(?P<key>.+)", re.DOTALL)
OBJECT_URL = re.compile(
    r"https://(?P<bucket>[a-z0-9.-]+)\.s3[.a-z0-9-]*\.amazonaws\.com(?:\.cn)?/(?P<key>[^?#]+)", re.DOTALL
)
COMPARED_PER_PATH = 10
COMPARED_AT_LEAST = 10_000
"""So many objects are listed at most to find one whose key differs in upper and lower case."""
SHOWN = 5
LINES = 1_000
KEYS = 20_000
"""So many lines and keys are compared."""
Heads = tuple[str, str]
"""What stands before the folders and the name that a path and a key end in alike: of the path, and of the key."""
SAME_BEGINNING = 0.9
"""The share of the lines with the file name of a key that have to begin alike, for a remedy that speaks of that."""


@dataclass(frozen=True, slots=True)
class ImageList:
    """Keys by the lines that name them, all of one bucket."""

    uri: str
    bucket: str
    lines: dict[str, int]
    """The line of each key, 1 being the first, in the order of the lines."""


class ListedImages:
    """A listing of no more than the images of a list: what else the bucket holds is not there.

    `base` knows which of them exist; it is asked once, for all. Lines that are not keys word for word are
    matched otherwise, below the prefix of `source`.
    """

    def __init__(self, image_list: ImageList, base: Listing, source: str) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._table: ObjectTable | None = None
        self._prefix = bucket_and_prefix(source)[1]
        self.bucket = image_list.bucket
        self._found = base.find(image_list.lines.keys())
        self.image_list = self._with_real_keys(image_list) if len(self._found) < len(image_list.lines) else image_list
        """The list with the keys that its lines mean."""

    def folder(self, prefix: str) -> Folder:
        """What stands right under a prefix."""
        return self._objects().folder(prefix)

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix."""
        return self._objects().objects(prefix)

    def find(self, keys: Collection[str]) -> dict[str, ListedObject]:
        """Those of the keys that the list names and the bucket holds."""
        return {key: self._found[key] for key in keys if key in self._found}

    def sample(self, prefix: str, count: int) -> list[str]:
        """The first images of the list under a prefix that the bucket holds."""
        return list(islice((key for key in self._found if key.startswith(prefix)), count))

    def absent(self, prefix: str) -> Iterator[str]:
        """The keys under a prefix that the list names and the bucket does not hold."""
        return (key for key in self.image_list.lines if key.startswith(prefix) and key not in self._found)

    def unmatched(self) -> str:
        """Explain why lines of the list name no object."""
        absent = islice((pair for pair in self.image_list.lines.items() if pair[0] not in self._found), LINES)
        lines = [UnmatchedLine(f"line {line}", key.removeprefix(self._prefix)) for key, line in absent]
        said = explain_mismatch(lines, self._base, self._prefix)
        return f"{FIELD} {self.image_list.uri}: {said}" if said else ""

    def _with_real_keys(self, image_list: ImageList) -> ImageList:
        absent = {key: self._readings(key) for key in image_list.lines if key not in self._found}
        meant = match_otherwise(absent, self._base, self._prefix, self._found).objects
        if not meant:
            return image_list
        keys = {written: listed.key for written, listed in meant.items()}
        self._found |= {listed.key: listed for listed in meant.values()}
        written, key = next(iter(keys.items()))
        log.info(
            "%s %s: %s lines name an object by another key, such as %r for %r",
            FIELD,
            image_list.uri,
            len(keys),
            written,
            key,
        )
        lines: dict[str, int] = {}
        for written, line in image_list.lines.items():
            lines.setdefault(keys.get(written, written), line)
        return replace(image_list, lines=lines)

    def _readings(self, key: str) -> list[str]:
        below = key.startswith(self._prefix)
        return readings(key[len(self._prefix) :], self._prefix) if below else readings(key, "")

    def _objects(self) -> ObjectTable:
        with self._lock:
            if self._table is None:
                self._table = ObjectTable.of(self._found.values())
            return self._table


def read_image_list(s3: S3Client, uri: str, source: str) -> ImageList:
    """Read a list of images. A line is an address, or a key: in full where it begins with the source's prefix, else
    relative to it.

    Empty lines do not matter, nor a line that is there again. A key may hold spaces, but not begin or end with one.
    Raises DatasetError, which names the lines, for a text without an image, with images of several buckets, or with a
    line that is not an address.
    """
    own_bucket, prefix = bucket_and_prefix(source)
    lines: dict[str, int] = {}
    buckets: dict[str, str] = {}
    wrong: list[str] = []
    repeated = 0
    for number, line in text_lines(FIELD, uri, read_document(s3, FIELD, uri)):
        path = line.strip()
        if not path:
            continue
        bucket, key = _place(path, own_bucket, prefix)
        if not key or key.endswith("/"):
            wrong.append(f"line {number}: {path!r}")
            continue
        buckets.setdefault(bucket, f"line {number}: {path!r}")
        repeated += key in lines
        lines.setdefault(key, number)
    if wrong:
        shown = "; ".join(wrong[:EXAMPLES])
        raise DatasetError(
            f"{FIELD} {uri}: {len(wrong)} lines name no image ({shown}): write s3://bucket/key, or a key"
        )
    if not lines:
        raise DatasetError(f"{FIELD} {uri} names no image: write one address or key per line")
    if len(buckets) > 1:
        raise DatasetError(
            f"{FIELD} {uri} names images in {len(buckets)} buckets ({'; '.join(list(buckets.values())[:EXAMPLES])}): "
            "copy them into one"
        )
    if repeated:
        log.info("%s %s: %s lines name an image a second time", FIELD, uri, repeated)
    return ImageList(uri, next(iter(buckets)), lines)


def check_under(image_list: ImageList, source: str) -> None:
    """Raise DatasetError where images of a list do not lie under the source, whose folders are their labels."""
    bucket, prefix = bucket_and_prefix(source)
    outside = {
        key: line for key, line in image_list.lines.items() if image_list.bucket != bucket or not key.startswith(prefix)
    }
    if outside:
        shown = "; ".join(
            f"line {line}: s3://{image_list.bucket}/{key}" for key, line in islice(outside.items(), EXAMPLES)
        )
        raise DatasetError(
            f"{FIELD} {image_list.uri}: {len(outside)} images are not under dataset.source {source}, whose folders "
            f"are their labels ({shown}): name the prefix of all of them, or dataset.label_tables"
        )


def _place(path: str, own_bucket: str, prefix: str) -> tuple[str, str]:
    if not is_address(path):
        return own_bucket, path if path.startswith(prefix) else f"{prefix}{path}"
    return split_address(path) or ("", "")


def is_address(path: str) -> bool:
    """Whether a path says its bucket too."""
    return "://" in path


def split_address(address: str) -> tuple[str, str] | None:
    """Bucket and key of an object's address; None if it is not one of S3.

    `s3a://` and `s3n://`, which Hadoop writes, and the object URL of the S3 console are understood too.
    """
    found = S3_ADDRESS.fullmatch(address)
    if found is not None:
        return found["bucket"], found["key"]
    found = OBJECT_URL.fullmatch(address)
    return (found["bucket"], unquote(found["key"])) if found is not None else None


def readings(path: str, prefix: str) -> list[str]:
    """The keys that a path may mean, the one that it is word for word first.

    `prefix` is the source's, below which a path is looked for before it is taken for a key in full; of an address it
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
    """Find the objects of paths that are not keys word for word; `taken` are the keys that other paths are.

    `keys_of` has the readings of each path, of which the first with an object counts. Only if there is none, an
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


@dataclass(frozen=True, slots=True)
class UnmatchedLine:
    """A line whose path names no object."""

    place: str
    """Such as `line 3`."""
    path: str


def explain_mismatch(lines: Sequence[UnmatchedLine], listing: Listing, prefix: str) -> str:
    """Five lines beside five keys, and a sentence about what would make them meet; empty if there are no lines."""
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
    taken = f"remove {of_line!r} from the beginning of the lines" if of_line else ""
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

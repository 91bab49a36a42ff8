"""Show what RecordIO files hold and whether they are sound: `python -m im2rec.inspect FILE.rec ...`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from im2rec.inspection import Inspection, Range, inspect_records
from include.recordio.format import BinarySource

SOUND, DAMAGED, UNREADABLE = 0, 1, 2
_BUFFER = 1 << 20
_ABOUT = """Read RecordIO files from end to end and tell what they hold: records, labels, image formats and sizes, the
first bad byte with its reason, and whether the .idx beside leads to every record. Exit status: 0 sound, 1 damaged, 2
wrong use or no such file."""


class CannotReadError(Exception):
    """A file or object that cannot be opened or read on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Inspect every file of a command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m im2rec.inspect", description=_ABOUT)
    parser.add_argument("files", nargs="+", metavar="FILE.rec", help="a path, or s3://bucket/key")
    parser.add_argument("--decode", action="store_true", help="decode every image instead of reading its header")
    parser.add_argument("--json", action="store_true", help="print a JSON document a line for each file")
    parser.add_argument("--labels", type=int, default=20, help="how many labels to count in the text (default: 20)")
    parsed = parser.parse_args(arguments)
    status = SOUND
    for name in parsed.files:
        try:
            found = _inspect(name, decode=parsed.decode)
        except CannotReadError as error:
            sys.stderr.write(f"{name}: {error}\n")
            status = UNREADABLE
            continue
        sys.stdout.write(_document(found) if parsed.json else _text(found, parsed.labels))
        status = max(status, SOUND if found.is_sound else DAMAGED)
    return status


def _inspect(name: str, *, decode: bool) -> Inspection:
    is_object = name.startswith("s3://")
    with ExitStack() as stack:
        opened = _object if is_object else _file
        counted = _Counted(stack.enter_context(opened(name)))
        index = _first(stack, opened, _index_places(name))
        try:
            found = inspect_records(name, counted, index, decode=decode)
        except OSError as error:
            raise CannotReadError(f"cannot be read on after {counted.size} bytes: {error}") from error
    found.size = counted.size
    return found


def _index_places(name: str) -> list[str]:
    """Where a file's index may be: beside it, or where a dataset version keeps it, outside of the channel."""
    if not name.endswith(".rec"):
        return []
    folder, _, file = name.rpartition("/")
    index = f"{file.removesuffix('.rec')}.idx"
    beside = f"{folder}/{index}" if folder else index
    return [beside, f"{folder.rpartition('/')[0]}/index/{index}"] if "/" in folder else [beside]


def _first(
    stack: ExitStack, opened: Callable[[str], AbstractContextManager[BinaryIO]], names: Sequence[str]
) -> BinaryIO | None:
    for name in names:
        try:
            return stack.enter_context(opened(name))
        except CannotReadError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
    return None


class _Counted:
    """Counts the bytes that are read of a source."""

    def __init__(self, source: BinarySource) -> None:
        self._source = source
        self.size = 0

    def read(self, amount: int, /) -> bytes:
        """Read on."""
        data = self._source.read(amount)
        self.size += len(data)
        return data


@contextmanager
def _file(name: str) -> Iterator[BinaryIO]:
    try:
        opened = Path(name).open("rb", buffering=_BUFFER)  # noqa: SIM115 - closed below
    except OSError as error:
        raise CannotReadError(error.strerror) from error
    with opened:
        yield opened


@contextmanager
def _object(address: str) -> Iterator[BinaryIO]:
    import boto3  # noqa: PLC0415 - files need none of it
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    bucket, _, key = address.removeprefix("s3://").partition("/")
    try:
        body = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
            raise CannotReadError("there is no such object") from FileNotFoundError(address)
        raise CannotReadError(str(error)) from error
    except (BotoCoreError, ValueError) as error:
        raise CannotReadError(str(error)) from error
    try:
        with body:
            yield cast("BinaryIO", BufferedReader(body, _BUFFER))
    except BotoCoreError as error:
        raise CannotReadError(f"cannot be read on: {error}") from error


def _document(found: Inspection) -> str:
    document = {part.name: getattr(found, part.name) for part in dataclasses.fields(found)}
    return json.dumps(document | {"is_sound": found.is_sound}, default=dataclasses.asdict) + "\n"


def _text(found: Inspection, most_labels: int) -> str:
    lines = [f"{found.name}: {found.records:,} records, {found.size:,} bytes"]
    lines += [f"  labels   {line}" for line in _label_lines(found, most_labels)]
    lines.append(f"  ids      {'unique' if not found.repeated_ids else f'{found.repeated_ids:,} appear again'}")
    formats = ", ".join(f"{count:,} {name}" for name, count in found.formats.most_common())
    lines.append(f"  images   {formats or 'none'}{f', {found.truncated:,} of them truncated' * bool(found.truncated)}")
    if found.imageless:
        lines.append(f"  headers  {found.imageless:,} record{'s' * (found.imageless > 1)} of a header and no image")
    lines += [
        f"  headers  record {number:,} stands behind an image: MXNet's reader ends there"
        for number in found.imageless_at
    ]
    ranges = [("width", found.widths, "pixels"), ("height", found.heights, "pixels")]
    ranges.append(("size", found.image_sizes, "bytes"))
    lines += [f"  {what:8} {_range(values, unit)}" for what, values, unit in ranges if values.count]
    lines.append(f"  index    {_index_line(found)}")
    lines += [f"  index    {fault}" for fault in found.index.faults] if found.index else []
    lines += [f"  bad      {fault}" for fault in found.faults]
    if found.unreadable > len(found.faults):
        lines.append(f"  bad      ... {found.unreadable:,} in all")
    if found.damaged_at is not None:
        lines.append(f"  damaged  {found.damage}")
    lines.append(f"  {'sound' if found.is_sound else 'NOT SOUND'}")
    return "\n".join(lines) + "\n"


def _label_lines(found: Inspection, most: int) -> Iterator[str]:
    widths = ", ".join(f"{count:,} with {width}" for width, count in sorted(found.label_widths.items()))
    more = " or more" if found.has_more_labels else ""
    yield f"{len(found.labels):,}{more} different; records by number of labels: {widths or 'none'}"
    if not found.labels_by_place or 1 in found.label_widths:
        yield from (f"  {label:g}: {count:,}" for label, count in sorted(found.labels.items())[:most])
        yield from [f"  ... {len(found.labels) - most:,} others"] * (len(found.labels) > most)
    if found.labels_by_place:
        yield from _lines_by_place(found, most)


def _lines_by_place(found: Inspection, most: int) -> Iterator[str]:
    width = max(found.label_widths)
    for place, counted in enumerate(found.labels_by_place[:most], start=1):
        ranked = sorted(counted.items())
        shown = [f"{label:g} in {count:,}" for label, count in ranked[:most]]
        shown[0] += " record" if ranked[0][1] == 1 else " records"
        rest = [f"... {len(ranked) - most:,} others"] if len(ranked) > most else []
        yield f"  label {place:,} of {width:,}: {', '.join([*shown, *rest])}"
    if width > most:
        yield f"  ... {width - most:,} more labels of a record"


def _range(numbers: Range, unit: str) -> str:
    return f"{numbers.smallest:,} to {numbers.largest:,} {unit}, {numbers.mean:,.1f} in the mean"


def _index_line(found: Inspection) -> str:
    if found.index is None:
        return "none beside"
    foreign = f", {found.index.foreign_keys:,} keys are not their record's id" if found.index.foreign_keys else ""
    return f"{found.index.lines:,} lines, {'wrong' if found.index.faults else 'right'}{foreign}"


if __name__ == "__main__":
    sys.exit(main())

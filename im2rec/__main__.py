"""The command `python -m im2rec PREFIX ROOT ...`: it makes lists and packs RecordIO as MXNet's `im2rec.py` does.

It takes every option of MXNet 1.9.1's `im2rec.py`, and two of its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from im2rec import FAILED, WRITTEN, WRITTEN_IN_PART
from include.recordio.options import keep_freed_memory

INTERRUPTED, ENDED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_ABOUT = """Make lists of a folder's images (--list), or pack the images of lists into RecordIO: PREFIX.lst becomes
PREFIX.rec and PREFIX.idx, byte for byte as MXNet's im2rec.py writes them. They appear whole and together, or not at
all."""

_LISTS = """A prefix stands for PREFIX.lst and for what --list makes of it: PREFIX_0.lst ..., PREFIX_train.lst,
PREFIX_val.lst, PREFIX_test.lst; a folder for all lists in it. Other lists whose names only begin like the prefix are
not packed, as im2rec.py would.

Exit status: 0 all is written; 1 something is wrong, each reason was shown with its list and line, and nothing of that
list is written; 2 wrong use; 3 all is written but what --skip-bad left out; 130 interrupted; 143 ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit status, which `--help` explains."""
    parsed = parse_arguments(arguments)
    if not Path(parsed.root).is_dir():
        _say(f"{parsed.root}: the root is not a folder")
        return FAILED
    try:
        return _make_lists(parsed) if parsed.list else _pack_lists(parsed)
    except KeyboardInterrupt:
        _say("interrupted: what was not finished is not written")
        return INTERRUPTED


def _make_lists(parsed: argparse.Namespace) -> int:
    from im2rec.list_making import make_lists  # noqa: PLC0415 - each command loads what it needs

    return make_lists(parsed, _say)


def _pack_lists(parsed: argparse.Namespace) -> int:
    from include.recordio.format import lists_like, lists_of  # noqa: PLC0415

    prefix = Path(parsed.prefix)
    lists = lists_of(prefix)
    others = [path.name for path in lists_like(prefix) if path not in lists and not prefix.is_dir()]
    if others:
        _say(f"not packed, name them in full if they should be: {', '.join(others)}")
    if not lists:
        _say(f"{prefix}.lst: there is no such list; --list makes it of the images in ROOT")
        return FAILED
    from im2rec.packing import pack_one_list  # noqa: PLC0415

    return max([pack_one_list(path, parsed, _say) for path in lists], key=(WRITTEN, WRITTEN_IN_PART, FAILED).index)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _be_a_program() -> None:
    """End at SIGTERM as at Ctrl-C, start no threads that nothing here uses, and reuse memory."""
    signal.signal(signal.SIGTERM, _end)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    keep_freed_memory(largest=32 << 20, kept=256 << 20)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(ENDED)


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check a command line; ends the process with status 2 if it is wrong."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    complaint = _complaint(parsed)
    if complaint is not None:
        parser.error(complaint)
    parsed.prefix = os.path.abspath(parsed.prefix)  # noqa: PTH100 - "a/../b" means b, as it does for im2rec.py
    parsed.root = os.path.abspath(parsed.root)  # noqa: PTH100
    return parsed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m im2rec", description=_ABOUT, epilog=_LISTS, formatter_class=_Help)
    parser.add_argument("prefix", help="path of lists and records without what follows it in their names")
    parser.add_argument("root", help="folder that the paths in a list are relative to")
    _add_list_options(parser.add_argument_group("making lists"))
    _add_record_options(parser.add_argument_group("packing records"))
    ours = parser.add_argument_group("not known to im2rec.py")
    ours.add_argument(
        "--skip-bad", action="store_true", help="leave out images and lines that are bad, name them, and end with 3"
    )
    ours.add_argument("--silent", action="store_true", help="tell only what is wrong: no progress, no summary")
    return parser


def _add_list_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--list", action="store_true", help="make lists of the images in ROOT instead of records")
    group.add_argument(
        "--exts", nargs="+", default=[".jpeg", ".jpg", ".png"], help="extensions of images, in lower case with the dot"
    )
    group.add_argument("--chunks", type=int, default=1, help="number of lists to share the images out among")
    group.add_argument("--train-ratio", type=float, default=1.0, help="share of the images in PREFIX_train.lst")
    group.add_argument("--test-ratio", type=float, default=0, help="share of the images in PREFIX_test.lst")
    group.add_argument(
        "--recursive",
        action="store_true",
        help="walk through all folders below ROOT, each that holds images being a label; else the images in ROOT "
        "itself all get the label 0",
    )
    group.add_argument(
        "--no-shuffle", dest="shuffle", action="store_false", help="keep the order of names instead of a shuffled one"
    )


def _add_record_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--pass-through", action="store_true", help="pack the files as they are")
    group.add_argument("--resize", type=int, default=0, help="length of the shorter edge in pixels; 0 keeps the size")
    group.add_argument("--center-crop", action="store_true", help="cut out the square in the middle, before resizing")
    group.add_argument("--quality", type=int, default=95, help="JPEG quality 1-100, or PNG compression 1-9")
    group.add_argument(
        "--num-thread",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="threads that pack; records and their order are the same with any number, so it begins at all processors",
    )
    group.add_argument(
        "--color",
        type=int,
        default=1,
        choices=[-1, 0, 1],
        help="1: three channels; 0: gray; -1: as stored, with alpha and 16 bits, EXIF's rotation not applied",
    )
    group.add_argument("--encoding", type=str, default=".jpg", choices=[".jpg", ".png"], help="format of packed images")
    group.add_argument("--pack-label", action="store_true", help="pack all labels of a line instead of its first one")


def _complaint(parsed: argparse.Namespace) -> str | None:
    shares = parsed.train_ratio + parsed.test_ratio
    wrong = {
        f"--chunks {parsed.chunks}: at least 1 is needed": parsed.chunks < 1,
        f"--resize {parsed.resize}: 0 or a length in pixels is needed": parsed.resize < 0,
        f"--quality {parsed.quality}: it goes from 0 to 100": not 0 <= parsed.quality <= 100,
        f"--train-ratio {parsed.train_ratio} --test-ratio {parsed.test_ratio}: both go from 0 to 1, and so does their "
        "sum": not (parsed.train_ratio >= 0 and parsed.test_ratio >= 0 and shares <= 1 + 1e-9),
    }
    for extension in parsed.exts:
        matches_nothing = extension != extension.lower() or (extension and not extension.startswith("."))
        wrong[f"--exts {extension}: write it in lower case with its dot; it stands for upper case too"] = (
            matches_nothing
        )
    return next((complaint for complaint, is_so in wrong.items() if is_so), None)


if __name__ == "__main__":
    _be_a_program()
    sys.exit(main())

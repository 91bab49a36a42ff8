"""Make lists and pack RecordIO as MXNet's ``im2rec.py`` does: `python -m im2rec PREFIX ROOT ...`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from im2rec.arguments import parse_arguments
from include.recordio.codec_memory import keep_freed_memory

WRITTEN, FAILED, WRITTEN_IN_PART = 0, 1, 3
INTERRUPTED, ENDED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit status, which ``--help`` explains."""
    parsed = parse_arguments(arguments)
    if not Path(parsed.root).is_dir():
        _say(f"{parsed.root}: the root is no folder")
        return FAILED
    try:
        return _make_lists(parsed) if parsed.list else _pack_lists(parsed)
    except KeyboardInterrupt:
        _say("interrupted: what was not finished is not written")
        return INTERRUPTED


def _make_lists(parsed: argparse.Namespace) -> int:
    from im2rec.list_command import make_lists  # noqa: PLC0415 - each command loads what it needs

    return make_lists(parsed, _say)


def _pack_lists(parsed: argparse.Namespace) -> int:
    from include.recordio.lists import lists_like, lists_of  # noqa: PLC0415

    prefix = Path(parsed.prefix)
    lists = lists_of(prefix)
    others = [path.name for path in lists_like(prefix) if path not in lists and not prefix.is_dir()]
    if others:
        _say(f"not packed, name them in full if they should be: {', '.join(others)}")
    if not lists:
        _say(f"{prefix}.lst: there is no such list; --list makes it of the images in ROOT")
        return FAILED
    from im2rec.pack_command import pack_one_list  # noqa: PLC0415

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


if __name__ == "__main__":
    _be_a_program()
    sys.exit(main())

"""What ``im2rec`` does with one list: look it over, pack it, and tell what came of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2

from im2rec.list_packing import MOST_BAD, ListPacker, PackingCounts, TooManyBadError
from im2rec.new_files import new_files
from im2rec.progress import Progress
from include.recordio.image_steps import ImageSteps
from include.recordio.lists import ListSurvey, listed_images, survey_list

WRITTEN, FAILED, WRITTEN_IN_PART = 0, 1, 3

_Say = Callable[[str], None]


class _NothingWrittenError(Exception):
    """Ends the writing of files that shall not appear."""


def pack_one_list(path: Path, parsed: argparse.Namespace, say: _Say) -> int:
    """Pack a list into the ``.rec`` and ``.idx`` beside it and return the exit status it earns."""
    cv2.setNumThreads(1)
    progress = None
    try:
        survey = survey_list(path, same_width=parsed.pack_label)
        _tell(path, survey, parsed, say)
        if survey.images:
            stream = None if parsed.silent else sys.stderr
            progress = Progress(path.name, survey.images, stream)
            return _pack(path, survey, parsed, progress, say)
        reason = "it names no image"
    except _NothingWrittenError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename or path.with_suffix('.rec')}: {error.strerror}"
    finally:
        if progress is not None:
            progress.clear()
    stands = "; the one that was there stays" if path.with_suffix(".rec").exists() else ""
    say(f"{path}: {reason}: no {path.with_suffix('.rec').name} is written{stands}")
    return FAILED


def _pack(path: Path, survey: ListSurvey, parsed: argparse.Namespace, progress: Progress, say: _Say) -> int:
    def report(line: int, reason: str) -> None:
        progress.clear()
        say(f"{path}:{line}: {reason}")

    packer = ListPacker(
        listed_images(path, same_width=parsed.pack_label),
        Path(parsed.root),
        _steps(parsed),
        pack_label=parsed.pack_label,
        report=report,
        write=parsed.skip_bad or not survey.bad,
        skip_bad=parsed.skip_bad,
    )
    with new_files([path.with_suffix(".rec"), path.with_suffix(".idx")]) as (records, index):
        try:
            counts = packer.pack(records, index, threads=max(parsed.num_thread, 1), progress=progress)
        except TooManyBadError:
            raise _NothingWrittenError(
                f"{MOST_BAD:,} of its first {progress.images:,} images are bad, the others were not looked at; is "
                f"{parsed.root} the root of its paths?"
            ) from None
        bad = counts.bad + len(survey.bad)
        if bad and not (parsed.skip_bad and counts.packed):
            raise _NothingWrittenError(f"{bad:,} of its {survey.images + len(survey.bad):,} lines are bad")
    progress.clear()
    if bad or not parsed.silent:
        _tell_end(path, counts, bad, progress, say)
    return WRITTEN_IN_PART if bad else WRITTEN


def _tell(path: Path, survey: ListSurvey, parsed: argparse.Namespace, say: _Say) -> None:
    """Tell of bad lines, and of what im2rec.py drops or hides without a word."""
    for line in survey.bad:
        say(f"{path}:{line.line}: {line.reason}")
    if survey.most_labels > 1 and not parsed.pack_label:
        say(f"{path}: up to {survey.most_labels} labels a line, of which the first is packed; --pack-label packs all")
    if survey.first_repeated is not None:
        first = survey.first_repeated
        say(
            f"{path}:{first.line}: the index {first.id} stands in a line before ({survey.repeated_ids:,} such lines): "
            "all are packed, but whoever looks a record up by its index finds the last one only"
        )
    if parsed.pass_through and (parsed.resize or parsed.center_crop):
        say("--pass-through packs files as they are: --resize and --center-crop change nothing")


def _tell_end(path: Path, counts: PackingCounts, bad: int, progress: Progress, say: _Say) -> None:
    looks = f", {counts.remarked:,} of them named above" if counts.remarked else ""
    skipped = f"; {bad:,} bad lines left out" if bad else ""
    say(
        f"{path.with_suffix('.rec')}: {counts.packed:,} images{looks}, {counts.written_bytes / 1e6:,.1f} MB{skipped}; "
        f"{progress.seconds():.1f} s, {progress.rates()}"
    )


def _steps(parsed: argparse.Namespace) -> ImageSteps:
    return ImageSteps(
        resize=parsed.resize,
        center_crop=parsed.center_crop,
        quality=parsed.quality,
        color=parsed.color,
        encoding=parsed.encoding,
        pass_through=parsed.pass_through,
    )

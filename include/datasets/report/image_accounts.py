"""What became of every source image, as a dataset page lists it: packed, left out or bad, and why."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.source_image import BAD, Status
from include.datasets.version import DatasetVersion
from include.pages import Markup, note, shown, table

LISTED = 20
"""Images listed of each status."""
LABELS = 500
"""Labels listed that were not asked for."""
REASONS = 3
"""Reasons listed of each status."""


CHOICES = {
    Status.SKIPPED: "left out by dataset.negatives or the label table's options",
    Status.UNLABELLED: "without a label",
    Status.REMOVED: "removed from the source",
    Status.IGNORED: "outside the class folders",
    Status.SYSTEM_FILE: "hidden or system files",
}
"""What is left out because the run conf does not ask for it, beside images of other classes, in the words of a page."""


def statuses(version: DatasetVersion, manifest: pa.Table) -> list[Markup]:
    """What was left out by choice, in a sentence, and a row for each status with its most frequent reasons."""
    chosen = left_out_by_choice(version)
    rows = _status_rows(version, manifest)
    return [
        *([note(f"Left out by choice: {', '.join(chosen)}.")] if chosen else []),
        table(("status", "images", "share", "reasons"), rows, kind="words"),
    ]


def left_out_by_choice(version: DatasetVersion) -> list[str]:
    """How many images were left out, and why, a phrase for each kind: "896 images of 5 classes not asked for"."""
    others = version.statuses.get(Status.NOT_ASKED, 0)
    found = [f"{_images(others)} of {classes_not_asked(version)} not asked for"] if others else []
    return found + [
        f"{_images(count)} {words}" for status, words in CHOICES.items() if (count := version.statuses.get(status, 0))
    ]


def classes_not_asked(version: DatasetVersion) -> str:
    """How many classes the source has beside those that were asked for; of a version that does not know, other ones."""
    number = len(version.not_asked)
    return f"{number:,} class{'' if number == 1 else 'es'}" if number else "other classes"


def _images(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"


def _status_rows(version: DatasetVersion, manifest: pa.Table) -> list[tuple[str, ...]]:
    counts = version.statuses
    total = manifest.num_rows
    reasons = reasons_by_status(manifest)
    ranked = sorted(counts, key=lambda status: (status != Status.PACKED, status not in BAD, status))
    rows: list[tuple[str, ...]] = []
    for status in ranked:
        told, further = reasons.get(status, ([], 0))
        lines = [f"{reason} ({count:,})" for reason, count in told]
        lines += [f"{further:,} other reasons"] if further else []
        name = Markup(f"<span class=warn>{shown(status)}</span>") if status in BAD else status
        why = Markup("<br>".join(map(shown, lines)))
        rows.append((name, f"{counts[status]:,}", f"{counts[status] / max(total, 1):.2%}", why))
    return rows


def not_asked(version: DatasetVersion) -> list[Markup]:
    """The labels of the source that the version does not have; nothing if it has all of them."""
    counts = version.not_asked
    if not counts:
        return []
    left_out = version.statuses.get(Status.NOT_ASKED, 0)
    said = (
        "Images that show these labels are packed for the labels of the version, or as images that show none of them."
        if version.multi_label
        else f"{left_out:,} images of the source have one of these labels and are not packed."
    )
    further = f" The first {LABELS:,} of {len(counts):,} labels." if len(counts) > LABELS else ""
    rows = [(label, f"{count:,}") for label, count in islice(counts.items(), LABELS)]
    return [note(f"{said}{further}"), table(("label", "images"), rows, kind="words")]


def bad_images(version: DatasetVersion, manifest: pa.Table) -> list[Markup]:
    """The first bad images of each status but conflicts; nothing if there are none."""
    counts = version.statuses
    bad = [status for status in sorted(counts) if status in BAD and status != Status.CONFLICT]
    rows = [row for status in bad for row in first_rows(manifest, status, LISTED)]
    if not rows:
        return []
    total = sum(counts[status] for status in bad)
    said = f"{total:,} in all" + (f"; the first {LISTED} of each status." if len(rows) < total else ".")
    body = [(_uri(row), row["status"], row["reason"] or "") for row in rows]
    return [note(said), table(("image", "status", "reason"), body, kind="words")]


def same_content(version: DatasetVersion, manifest: pa.Table) -> list[Markup]:
    """Duplicates and conflicts; nothing if there are none."""
    counts = version.statuses
    duplicates, conflicts = counts.get(Status.DUPLICATE, 0), counts.get(Status.CONFLICT, 0)
    rows = [
        (_uri(row), row["status"], row["reason"] or "")
        for status in (Status.CONFLICT, Status.DUPLICATE)
        for row in first_rows(manifest, status, LISTED)
    ]
    if not rows:
        return []
    said = (
        f"Duplicates ({duplicates:,}) have the bytes of another image with the same labels, which is packed once. "
        f"Conflicts ({conflicts:,}) have those of one with other labels, and are in no split."
    )
    if len(rows) < duplicates + conflicts:
        said += f" The first {LISTED} of each."
    return [note(said), table(("image", "status", "reason"), rows, kind="words")]


def reasons_by_status(manifest: pa.Table) -> dict[str, tuple[list[tuple[str, int]], int]]:
    """The most frequent reasons of each status with their rows, and how many further reasons there are.

    Not of duplicates and conflicts, whose reason names the other object.
    """
    told = manifest.select(["status", "reason"]).filter(~pc.field("status").isin([Status.CONFLICT, Status.DUPLICATE]))
    told = told.filter(pc.is_valid(told["reason"]))
    grouped = told.group_by(["status", "reason"], use_threads=False).aggregate([([], "count_all")])
    ranked = grouped.sort_by([("count_all", "descending"), ("reason", "ascending")])
    found: dict[str, tuple[list[tuple[str, int]], int]] = {}
    for status in cast("list[str]", pc.unique(grouped["status"]).to_pylist()):
        of_status = ranked.filter(pc.field("status") == status)
        rows = of_status.slice(0, REASONS).to_pylist()
        found[status] = [(row["reason"], row["count_all"]) for row in rows], of_status.num_rows - len(rows)
    return found


def first_rows(manifest: pa.Table, status: str, number: int) -> list[dict[str, Any]]:
    """The first rows of a status: `bucket`, `key`, `status`, `reason`."""
    names = manifest.select(["bucket", "key", "status", "reason"])
    return names.filter(pc.field("status") == status).slice(0, number).to_pylist()


def _uri(row: Mapping[str, Any]) -> str:
    return f"s3://{row['bucket']}/{row['key']}"

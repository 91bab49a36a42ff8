"""A dataset page's account of every source image: packed, left out or bad, and why."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from include.datasets.manifest import BAD, CONFLICT, DUPLICATE, NOT_ASKED, PACKED
from include.datasets.report.report_figures import first_rows, reasons_by_status
from include.datasets.version import DatasetVersion
from include.pages.elements import Markup, note, shown, table

LISTED = 20
"""Images listed of each status."""
LABELS = 500
"""Labels listed that were not asked for."""


def statuses(version: DatasetVersion, manifest: pa.Table) -> Markup:
    """A row for each status with its most frequent reasons."""
    counts = version.statuses
    total = manifest.num_rows
    reasons = reasons_by_status(manifest)
    ranked = sorted(counts, key=lambda status: (status != PACKED, status not in BAD, status))
    rows = []
    for status in ranked:
        told, further = reasons.get(status, ([], 0))
        lines = [f"{reason} ({count:,})" for reason, count in told]
        lines += [f"{further:,} other reasons"] if further else []
        name = Markup(f"<span class=warn>{shown(status)}</span>") if status in BAD else status
        why = Markup("<br>".join(map(shown, lines)))
        rows.append((name, f"{counts[status]:,}", f"{counts[status] / max(total, 1):.2%}", why))
    return table(("status", "images", "share", "reasons"), rows, kind="words")


def not_asked(version: DatasetVersion) -> list[Markup]:
    """The labels of the source that the version does not have; nothing where it has all of them."""
    counts = version.not_asked
    if not counts:
        return []
    left_out = version.statuses.get(NOT_ASKED, 0)
    said = (
        "Images that show these labels are packed for the labels of the version, or as images that show none of them."
        if version.multi_label
        else f"{left_out:,} images of the source have one of these labels and are not packed."
    )
    further = f" The first {LABELS:,} of {len(counts):,} labels." if len(counts) > LABELS else ""
    rows = [(label, f"{count:,}") for label, count in islice(counts.items(), LABELS)]
    return [note(f"{said}{further}"), table(("label", "images"), rows, kind="words")]


def bad_images(version: DatasetVersion, manifest: pa.Table) -> list[Markup]:
    """The first bad images of each status but conflicts; nothing where there are none."""
    counts = version.statuses
    bad = [status for status in sorted(counts) if status in BAD and status != CONFLICT]
    rows = [row for status in bad for row in first_rows(manifest, status, LISTED)]
    if not rows:
        return []
    total = sum(counts[status] for status in bad)
    said = f"{total:,} in all" + (f"; the first {LISTED} of each status." if len(rows) < total else ".")
    body = [(_uri(row), row["status"], row["reason"] or "") for row in rows]
    return [note(said), table(("image", "status", "reason"), body, kind="words")]


def same_content(version: DatasetVersion, manifest: pa.Table) -> list[Markup]:
    """Duplicates and conflicts; nothing where there are none."""
    counts = version.statuses
    duplicates, conflicts = counts.get(DUPLICATE, 0), counts.get(CONFLICT, 0)
    rows = [
        (_uri(row), row["status"], row["reason"] or "")
        for status in (CONFLICT, DUPLICATE)
        for row in first_rows(manifest, status, LISTED)
    ]
    if not rows:
        return []
    said = (
        f"Duplicates ({duplicates:,}) hold the bytes of another image with the same labels, which is packed once. "
        f"Conflicts ({conflicts:,}) hold those of one with other labels, and are in no split."
    )
    if len(rows) < duplicates + conflicts:
        said += f" The first {LISTED} of each."
    return [note(said), table(("image", "status", "reason"), rows, kind="words")]


def _uri(row: Mapping[str, Any]) -> str:
    return f"s3://{row['bucket']}/{row['key']}"

"""The pages of a dataset's versions: how it has grown, what one version holds, and how two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from starlette.status import HTTP_404_NOT_FOUND

from image_classification.ui.charts import Line, line_chart
from image_classification.ui.installation import Installation
from image_classification.ui.rendering import page, query
from image_classification.ui.sorting import Column, Sorting
from include.catalog import FOREVER, Seen
from include.catalog.dataset_versions import VersionSummary, read_summary
from include.catalog.stored_pages import Place
from include.datasets.layout import SPLITS, VersionLayout
from include.datasets.version import find, version_names

if TYPE_CHECKING:
    from image_classification.ui.installation import Connected
    from include.catalog.dataset_versions import SheetImage, StatusAccount, VersionChanges
    from include.datasets.version import DatasetVersion

router = APIRouter()

FIRST_WAIT = 0.4
REFRESH_SECONDS, LIST_SECONDS, UNPUBLISHED_SECONDS = 15, 15.0, 15.0
MOST_CLASSES = 1000
"""Classes that a page lists; its report and dataset.json have all."""
MOST_CHANGES = 500
"""Classes that a comparison lists, those that changed first."""


WHY_REMOVED = {
    "removed": "no longer in the source",
    "not_asked": "their class was not asked for",
    "duplicate": "the same content as another image",
    "conflict": "the same content as an image with other labels",
}
"""Why an image of an earlier version is in this one no more, by its status."""


@dataclass(frozen=True)
class KnownDatasetVersion:
    """A listed version and what is known of it; the summary's answer is None if it is not published."""

    name: str
    summary: Seen[VersionSummary | None]


def _of_summary(name: str) -> Any:
    def key(version: KnownDatasetVersion) -> Any:
        return getattr(version.summary.answer, name) if version.summary.answer else None

    return key


COLUMNS: tuple[Column[KnownDatasetVersion], ...] = (
    Column("version", "Version", lambda version: version.name),
    Column("images", "Images", _of_summary("images"), is_number=True),
    *(Column(split, split.capitalize(), _of_summary(split), is_number=True) for split in SPLITS),
    Column("classes", "Classes", _of_summary("classes"), is_number=True),
    Column("new", "New in it", _of_summary("new"), is_number=True),
    Column("bad", "Bad", _of_summary("bad"), is_number=True),
    Column("left_out", "Left out", _of_summary("left_out"), is_number=True),
    Column("created", "Built", _of_summary("created")),
)


@router.get("/datasets/{dataset}/versions", response_class=HTMLResponse)
def table(request: Request, dataset: str, sort: str = "version", up: bool = False) -> HTMLResponse:
    """All versions; `sort` names a column, the largest values come first unless `up` is given."""
    installation = Installation.of(request)
    listed, versions = known_dataset_versions(installation, installation.connected(), dataset)
    sorting = Sorting.of(COLUMNS, sort, up=up)
    return page(
        request,
        "versions.html",
        title=f"Versions of {dataset}",
        tab="versions",
        dataset=dataset,
        refresh=REFRESH_SECONDS,
        headings=sorting.headings(),
        listed=listed,
        versions=sorting.rows(versions),
        unread=sum(version.summary.is_awaited for version in versions),
        growth=_growth(versions),
    )


def known_dataset_versions(
    installation: Installation, connected: Connected, dataset: str
) -> tuple[Seen[tuple[str, ...]], list[KnownDatasetVersion]]:
    """The versions of a dataset, the newest first. What a version's document says never changes: it is read once."""
    bucket = connected.settings.data_bucket

    def look() -> tuple[str, ...]:
        return tuple(version_names(connected.client("s3"), bucket, dataset))

    def summary_of(layout: VersionLayout) -> VersionSummary | None:
        return read_summary(connected.client("s3"), layout)

    listed = installation.quick.see(("dataset versions", dataset), look, seconds=LIST_SECONDS, wait=FIRST_WAIT)
    found = []
    for name in listed.answer or ():
        one = partial(summary_of, VersionLayout(bucket, dataset, name))
        summary = installation.slow.see(("summary", dataset, name), one, seconds=_once_published)
        found.append(KnownDatasetVersion(name, summary))
    return listed, found


@router.get("/datasets/{dataset}/versions/compare", response_class=HTMLResponse)
def compare(request: Request, dataset: str, version: Annotated[list[str], Query()]) -> HTMLResponse:
    """Two versions: what was added, removed and relabelled from the older to the newer one."""
    names = sorted(set(version))
    if len(names) != 2:
        raise HTTPException(HTTP_404_NOT_FOUND, f"Two versions are compared, and this address names {len(names)}.")
    installation = Installation.of(request)
    connected = installation.connected()
    older, newer = (_known(installation, connected, dataset, name) for name in names)
    changes = _changes(installation, connected, older.answer, newer.answer) if older.answer and newer.answer else None
    classes = sorted(
        changes.answer.classes if changes and changes.answer else (),
        key=lambda each: -(each.added + each.removed + each.gained + each.lost),
    )
    changed = [
        each for each in classes if each.added or each.removed or each.gained or each.lost or each.before is None
    ]
    return page(
        request,
        "changes.html",
        title=f"{dataset}: {names[0]} and {names[1]}",
        tab="versions",
        dataset=dataset,
        refresh=0 if changes and changes.at else REFRESH_SECONDS,
        names=names,
        older=older,
        newer=newer,
        changes=changes,
        reasons=WHY_REMOVED,
        classes=changed[:MOST_CHANGES],
        more_classes=max(0, len(changed) - MOST_CHANGES),
        unchanged=len(classes) - len(changed),
    )


@router.get("/datasets/{dataset}/versions/{version}", response_class=HTMLResponse)
def one(request: Request, dataset: str, version: str, label: str = "", split: str = "") -> HTMLResponse:
    """A version: its counts, a contact sheet of a class or split, what is bad or left out, and why."""
    installation = Installation.of(request)
    connected = installation.connected()
    known = _known(installation, connected, dataset, version)
    found = known.answer
    if known.at and found is None:
        raise HTTPException(HTTP_404_NOT_FOUND, f"{dataset} has no published version {version}.")
    if split not in ("", *SPLITS) or (found and label and label not in found.labels):
        raise HTTPException(HTTP_404_NOT_FOUND, f"Version {version} has no images of {label or split!r}.")
    accounts = _accounts(installation, connected, found) if found else None
    sheet = _sheet(installation, connected, found, label, split) if found else None
    is_complete = accounts is not None and sheet is not None and accounts.at and sheet.at
    return page(
        request,
        "version.html",
        title=f"{dataset}: {version}",
        tab="versions",
        dataset=dataset,
        refresh=0 if is_complete else REFRESH_SECONDS,
        version=version,
        known=known,
        found=found,
        summary=VersionSummary.of(found) if found else None,
        parent=VersionLayout.of_uri(found.parent).version if found and found.parent else "",
        classes=list(found.class_counts.items())[:MOST_CLASSES] if found else [],
        largest=max((counts.total for counts in found.class_counts.values()), default=0) if found else 0,
        accounts=accounts,
        sheet=sheet,
        label=label,
        split=split,
        splits=[each for each in SPLITS if found and found.count(each)],
        sheet_query=lambda label, split: query(label=label, split=split),
    )


def _once_published(answer: Any) -> float:
    return UNPUBLISHED_SECONDS if answer is None else FOREVER


def _growth(versions: Sequence[KnownDatasetVersion]) -> Any:
    """Images by version, the oldest first, in all and by split."""
    known = sorted((each.summary.answer for each in versions if each.summary.answer), key=lambda each: each.version)
    if len(known) < 2:
        return ""
    names = {"images": "all images", "train": "training", "validation": "validation", "test": "test"}
    lines = [
        Line(title, [(place, float(getattr(each, name))) for place, each in enumerate(known)])
        for name, title in names.items()
    ]
    ticks = [f"{each.created:%Y-%m-%d}" for each in known]
    return line_chart("Images by version", lines, share=False, ticks=ticks)


def _known(installation: Installation, connected: Connected, dataset: str, version: str) -> Seen[DatasetVersion | None]:
    Place.of("datasets", f"{dataset}/{version}/report.html")
    layout = VersionLayout(connected.settings.data_bucket, dataset, version)

    def look() -> DatasetVersion | None:
        return find(connected.client("s3"), layout)

    return installation.quick.see(("version", dataset, version), look, seconds=_once_published, wait=FIRST_WAIT)


def _accounts(
    installation: Installation, connected: Connected, version: DatasetVersion
) -> Seen[tuple[StatusAccount, ...]]:
    def look() -> tuple[StatusAccount, ...]:
        from include.catalog.dataset_versions import read_accounts

        return read_accounts(connected.client("s3"), version)

    return installation.heavy.see(("accounts", version.uri), look, seconds=FOREVER, wait=FIRST_WAIT)


def _sheet(
    installation: Installation, connected: Connected, version: DatasetVersion, label: str, split: str
) -> Seen[tuple[SheetImage, ...]]:
    def look() -> tuple[SheetImage, ...]:
        from include.catalog.dataset_versions import read_sheet

        return read_sheet(connected.client("s3"), version, label=label, split=split)

    return installation.heavy.see(("sheet", version.uri, label, split), look, seconds=FOREVER, wait=FIRST_WAIT)


def _changes(
    installation: Installation, connected: Connected, older: DatasetVersion, newer: DatasetVersion
) -> Seen[VersionChanges]:
    def look() -> VersionChanges:
        from include.catalog.dataset_versions import compare_versions

        return compare_versions(connected.client("s3"), older, newer)

    return installation.heavy.see(("changes", older.uri, newer.uri), look, seconds=FOREVER, wait=FIRST_WAIT)

"""The page of a dataset version, for people: what is in it, and what became of every source image."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.layout import SPLITS, Split
from include.datasets.packed_images import LabelPairs, PackedImages, Thumbnail, contact_sheet
from include.datasets.source_image import BAD, Status
from include.datasets.version import DatasetVersion
from include.pages import Markup, joined, listed, note, page, section, shown, table
from include.pages.charts import heat_map, histogram, stacked_bar, stacked_columns
from include.problems import shown_address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_CLASSES = 2000
OVERVIEW_CLASSES = 40
"""Classes above which a chart shows them all at once."""
HEAT_LABELS = 24
PAIRS = 30


@dataclass(frozen=True)
class ReportContents:
    """What a dataset page shows: the version, its manifest, the bytes of its record files, a contact sheet."""

    version: DatasetVersion
    parent: DatasetVersion | None
    manifest: pa.Table
    packed: PackedImages
    sizes: Mapping[Split, int]
    sheet: Sequence[Thumbnail]


def write_report(s3: S3Client, version: DatasetVersion, manifest: pa.Table, parent: DatasetVersion | None) -> None:
    """Write `report.html` of a version whose records are composed; the same version gives the same bytes.

    Reads some sixty single records, sixteen MB at most.
    """
    layout = version.layout
    sizes = {
        split: s3.head_object(Bucket=layout.bucket, Key=layout.records(split))["ContentLength"]
        for split in SPLITS
        if version.count(split)
    }
    packed = PackedImages.of(manifest, version.labels, sizes)
    contents = ReportContents(
        version=version,
        parent=parent,
        manifest=manifest,
        packed=packed,
        sizes=sizes,
        sheet=contact_sheet(s3, layout, packed, version.num_classes),
    )
    s3.put_object(
        Bucket=layout.bucket,
        Key=layout.report,
        Body=dataset_page(contents).encode(),
        ContentType="text/html; charset=utf-8",
    )


def dataset_page(contents: ReportContents) -> str:
    """The page as HTML."""
    version = contents.version
    sections = (
        section("Images", _sheet(contents)),
        section("Classes", *_classes(version)),
        section("Splits", *_splits(contents)),
        section("Since the parent", *_growth(contents)),
        section("Sizes as packed", _sizes(contents.packed)),
        section("Labels together", *_labels_together(contents)),
        section("Labels that were not asked for", *not_asked(version)),
        section("What became of each image", *statuses(contents.version, contents.manifest)),
        section("Bad images", *bad_images(contents.version, contents.manifest)),
        section("Same content twice", *same_content(contents.version, contents.manifest)),
        section("How it was built", _origin(version)),
    )
    return page(
        title=version.name,
        lead=f"Version {version.version}, {version.created:%Y-%m-%d %H:%M}, from {source_addresses(version)}",
        figures=_figures(contents),
        sections=sections,
    )


def size_in_words(size: float) -> str:
    """Bytes with the unit that suits them."""
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _figures(contents: ReportContents) -> list[tuple[str, str]]:
    version = contents.version
    bad = sum(count for status, count in version.statuses.items() if status in BAD)
    others = version.statuses.get(Status.NOT_ASKED)
    return [
        (f"{version.counts.total:,}", "images"),
        (f"{version.num_classes:,}", "classes, several to an image" if version.multi_label else "classes"),
        (size_in_words(sum(contents.sizes.values())), "in record files"),
        (f"{version.negative_images:,}" if version.negative_images else "", "show none of the labels"),
        ("" if others is None else f"{others:,}", f"of {classes_not_asked(version)} not asked for"),
        (f"{bad:,}", "bad images"),
        (f"{version.statuses.get(Status.DUPLICATE, 0):,}", "duplicates"),
        (f"{version.new_images:,}" if version.parent else "", "new since the parent"),
    ]


def _sheet(contents: ReportContents) -> Markup:
    figures = joined(_thumbnail(image) for image in contents.sheet)
    return Markup(f'<div class="examples small">{figures}</div>') if figures else Markup()


def _thumbnail(image: Thumbnail) -> Markup:
    size = f"{image.width} x {image.height}" if image.width and image.height else "size unknown"
    says = shown(f"{image.uri}: {', '.join(image.labels)}; {size}, {image.split}")
    if image.jpeg:
        encoded = base64.b64encode(image.jpeg).decode()
        picture = f'<img alt="{says}" title="{says}" src="data:image/jpeg;base64,{encoded}">'
    else:
        picture = f'<div class="absent" title="{says}">cannot be shown: {shown(image.trouble)}</div>'
    return Markup(f"<figure>{picture}<figcaption>{shown(', '.join(image.labels))}</figcaption></figure>")


def _legend() -> Markup:
    keys = joined(Markup(f'<span class="key key{number}">{split}</span>') for number, split in enumerate(SPLITS))
    return Markup(f"<p class=legend>{keys}</p>")


def _classes(version: DatasetVersion) -> list[Markup]:
    counted = [
        (label, [counts.train, counts.validation, counts.test]) for label, counts in version.class_counts.items()
    ]
    largest = max(counted, key=lambda entry: sum(entry[1]))
    smallest = min(counted, key=lambda entry: sum(entry[1]))
    longest = sum(largest[1])
    rows = [
        (
            joined((Markup(f"<span class=index>{number}</span> "), shown(label))),
            stacked_bar(parts, longest),
            *(_count(part) for part in parts),
            f"{sum(parts):,}",
        )
        for number, (label, parts) in enumerate(counted[:MOST_CLASSES])
    ]
    said = f"Each class has {longest:,}."
    if sum(smallest[1]) < longest:
        said = (
            f"{largest[0]} has the most images, {longest:,}; {smallest[0]} the fewest, {sum(smallest[1]):,}; the "
            f"median is {median(sum(parts) for _, parts in counted):,.0f}."
        )
    if len(counted) > MOST_CLASSES:
        said += f" The table shows the first {MOST_CLASSES:,} classes."
    overview = stacked_columns(counted) if len(counted) > OVERVIEW_CLASSES else Markup()
    return [note(said), _legend(), overview, table(("class", "", *SPLITS, "all"), rows, kind="bars")]


def _count(images: int) -> str:
    return f"{images:,}" if images else Markup("<span class=warn>0</span>")


def _splits(contents: ReportContents) -> list[Markup]:
    version = contents.version
    total = version.counts.total
    rows = []
    for number, split in enumerate(SPLITS):
        images = version.count(split)
        without = sum(1 for counts in version.class_counts.values() if not getattr(counts, split))
        bar = [images if place == number else 0 for place in range(len(SPLITS))]
        rows.append(
            (
                split,
                stacked_bar(bar, total),
                _asked(version, split),
                f"{images / total:.1%}",
                f"{images:,}",
                size_in_words(contents.sizes.get(split, 0)),
                Markup(f"<span class=warn>{without:,}</span>") if without else "0",
            )
        )
    head = ("split", "", "asked", "reached", "images", "record file", "classes without")
    remarks = []
    if version.source.layout == "split_folders" or version.source.label_tables:
        remarks.append("Splits that the source names are kept; the shares are those of its other images.")
    if version.split.test_as != "test":
        remarks.append(f"The source's test images are this version's {version.split.test_as} split.")
    return [table(head, rows, kind="bars"), *map(note, remarks)]


def _asked(version: DatasetVersion, split: Split) -> str:
    asked = version.split
    shares: dict[str, float] = {"train": asked.train, "validation": asked.validation, "test": asked.test}
    if asked.train_per_class is None:
        return f"{shares[split] / (sum(shares.values()) or 1):.1%}"
    if split == "train":
        return f"{asked.train_per_class:,} a class"
    return f"{shares[split] / ((asked.validation + asked.test) or 1):.0%} of the rest"


def _growth(contents: ReportContents) -> list[Markup]:
    version, parent = contents.version, contents.parent
    if parent is None:
        return []
    new, per_class = contents.packed.new_per_class(version.version, version.num_classes)
    before, now = parent.counts.total, version.counts.total
    rows = [("all", f"{before:,}", _change("+", new), _change("-", before + new - now), f"{now:,}")]
    for label, added in zip(version.labels, per_class.tolist(), strict=True):
        had = parent.class_counts[label].total if label in parent.class_counts else 0
        has = version.class_counts[label].total
        removed = had + added - has
        if added or removed:
            rows.append((label, f"{had:,}", _change("+", added), _change("-", removed), f"{has:,}"))
    said = f"Grown from {parent.version}; {version.new_images:,} objects of the source were new to it."
    unchanged = version.num_classes - len(rows) + 1
    if unchanged:
        said += f" Classes with the same images as there: {unchanged:,}."
    return [note(said), table(("class", "parent", "new", "removed", "now"), rows, best="all")]


def _change(sign: str, images: int) -> str:
    return f"{sign}{images:,}" if images else ""


def _sizes(packed: PackedImages) -> Markup:
    width, height = packed.pixels("width"), packed.pixels("height")
    known = (width > 0) & (height > 0)
    width, height = width[known], height[known]
    charts = joined(
        (
            histogram("Short side", np.minimum(width, height), _pixels),
            histogram("Long side", np.maximum(width, height), _pixels),
            histogram("Width : height", width / height, lambda ratio: f"{ratio:.2f}"),
            histogram("Record size", packed.record_bytes, size_in_words),
        )
    )
    return Markup(f'<div class="side">{charts}</div>')


def _pixels(length: float) -> str:
    return f"{length:,.0f} px"


def _labels_together(contents: ReportContents) -> list[Markup]:
    version, packed = contents.version, contents.packed
    if not version.multi_label:
        return []
    by_number = packed.labels_per_image()
    numbers = [
        (f"{number} label{'' if number == 1 else 's'}", stacked_bar([images], int(by_number.max())), f"{images:,}")
        for number, images in enumerate(by_number.tolist())
        if images
    ]
    pairs = LabelPairs.of(packed, version.labels)
    shown_pairs = pairs.most_frequent(HEAT_LABELS)
    heat = heat_map(
        shown_pairs.counts,
        shown_pairs.labels,
        corner="of these, with",
        totals=shown_pairs.counts.diagonal(),
        kinds=("own", "pair"),
    )
    rows = [(f"{a} + {b}", f"{both:,}", f"{share:.1%}") for a, b, both, share in pairs.ranked(PAIRS)]
    of_how_many = f"the {HEAT_LABELS} most frequent labels" if version.num_classes > HEAT_LABELS else "all labels"
    return [
        table(("an image has", "", "images"), numbers, kind="bars"),
        note(f"Images that show both labels, of {of_how_many}; a darker cell has a larger share of its row."),
        heat,
        table(("most frequent pairs", "images", "of the rarer label's"), rows) if rows else Markup(),
    ]


def _origin(version: DatasetVersion) -> Markup:
    """Source, parent, packing and libraries of a version."""
    source = version.source.model_dump()
    shares = f"train {version.split.train:g}, validation {version.split.validation:g}, test {version.split.test:g}"
    return listed(
        [
            ("Version", version.uri),
            ("Parent", version.parent or ""),
            ("Source", source_addresses(version)),
            *((_words(name).capitalize(), _said(value)) for name, value in source.items() if name != "addresses"),
            ("Labels", _labels(version)),
            ("Splits", f"{shares}, seed {version.split.seed}"),
            ("Packing", _options(version.packing.as_dict())),
            ("Made with", ", ".join(f"{name} {number}" for name, number in sorted(version.libraries.items()))),
        ]
    )


def _labels(version: DatasetVersion) -> str:
    if not version.multi_label:
        return "one to an image"
    kept = "are packed with a 0 for each" if version.negatives == "keep" else "are left out"
    return f"several to an image; images that show none {kept}"


def source_addresses(version: DatasetVersion) -> str:
    """Where the version's images come from."""
    return ", ".join(map(_without_secrets, version.source.addresses))


def _without_secrets(address: str) -> str:
    """An address without a presigned URL's signature or a user's password."""
    return shown_address(address).removesuffix("?...")


def _options(options: Mapping[str, Any]) -> str:
    told = {_words(name): value for name, value in options.items() if value is not None and value is not False}
    return ", ".join(name if value is True else f"{name} {value}" for name, value in told.items())


def _said(value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, dict):
        return _options({name: part for name, part in value.items() if part != ""})
    if isinstance(value, list):
        return ", ".join(_without_secrets(str(part)) for part in value)
    return _without_secrets(str(value))


def _words(name: str) -> str:
    return name.replace("_", " ")


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

"""Which classes a version has, and in which order: index 0 stays index 0."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from include.datasets.errors import DatasetError
from include.datasets.sources.source import ImageSource
from include.datasets.sources.system_files import system_name
from include.datasets.version import DatasetVersion

FULL_RETRAIN = (
    "A changed label set is a full retrain: build a version without a parent, and train without an incremental parent"
)


def class_order(
    asked: Sequence[str],
    source: ImageSource,
    parent: DatasetVersion | None,
    *,
    field: str = "dataset.labels",
    remedy: str = "correct the names",
) -> list[str]:
    """Return class names in the order of their index.

    The parent's order where there is one; else that of the classes ``asked`` for in ``field``; else the source's.
    Raises DatasetError where the label set differs from the parent's, the source does not have a label (``remedy`` is
    what to do then), or fewer than two classes remain.
    """
    if parent is not None:
        return _parents_order(asked, source, parent, field)
    labels = list(asked) or list(source.classes)
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise DatasetError(f"{field} names {', '.join(map(repr, repeated))} more than once: a class has one index")
    if not source.classes and (unmatched := source.unmatched()):
        raise DatasetError(f"no image of {source.uri} is there.\n{unmatched}")
    if not source.classes:
        raise DatasetError(f"dataset.source {source.uri} holds no class folders: put images under {source.class_place}")
    known = set(source.classes)
    missing = [label for label in labels if label not in known]
    if missing:
        raise DatasetError(
            f"{field} names {len(missing)} classes that {source.uri} does not have: "
            + "; ".join(with_nearest(label, source.classes) for label in missing[:10])
            + f": {remedy}"
        )
    if len(labels) < 2:
        raise DatasetError(
            f"dataset.source {source.uri} gives the single class {labels[0]!r}: a classifier needs two or more"
        )
    return labels


def _parents_order(asked: Sequence[str], source: ImageSource, parent: DatasetVersion, field: str) -> list[str]:
    if asked and list(asked) != parent.labels:
        differing = sorted(set(asked) ^ set(parent.labels))
        what = ", ".join(differing[:10]) if differing else "their order"
        raise DatasetError(f"{field} differs from parent version {parent.version} ({what}). {FULL_RETRAIN}")
    new = [] if asked else sorted(set(source.classes) - set(parent.labels))
    if new:
        raise DatasetError(
            f"{source.uri} has {len(new)} classes that parent version {parent.version} has no label for: "
            f"{', '.join(new[:10])}. {FULL_RETRAIN}; or name the parent's labels in dataset.labels to leave them out"
        )
    return list(parent.labels)


def with_nearest(label: str, classes: Sequence[str]) -> str:
    """Quote a name that is no class, and the class whose name is nearest to it."""
    if system_name(label) is not None:
        return f"{label!r} (a hidden or system folder, which no source has)"
    near = get_close_matches(label, classes, n=1)
    return f"{label!r} (did you mean {near[0]!r}?)" if near else repr(label)

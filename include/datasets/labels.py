"""Which classes a version has and in which order, and how a record holds those of an image: index 0 stays index 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from include.datasets.documents import parse_json, read_document, text_lines
from include.datasets.errors import DatasetError
from include.datasets.source_image import ImageSource, system_name
from include.datasets.version import DatasetVersion
from include.run_conf.reading import is_unicode, listed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf


FIELD = "dataset.labels_file"
FULL_RETRAIN = (
    "A changed label set is a full retrain: build a version without a parent, and train without an incremental parent"
)


def asked_labels(s3: S3Client, conf: DatasetConf) -> list[str]:
    """The classes that a run conf names, in class order; none stands for all of the source.

    They are `dataset.labels`, else the names in `dataset.labels_file`. Raises DatasetError where both are given and
    a label is none of the file's names, and for a file that `read_labels_file` refuses.
    """
    if not conf.labels_file:
        return list(conf.labels)
    names = read_labels_file(s3, conf.labels_file)
    strange = [label for label in conf.labels if label not in set(names)]
    if strange:
        raise DatasetError(
            f"dataset.labels names {len(strange)} classes that {FIELD} {conf.labels_file} does not have: "
            + "; ".join(_with_nearest(label, names) for label in strange[:10])
        )
    return list(conf.labels) or names


def class_order(
    asked: Sequence[str],
    source: ImageSource,
    parent: DatasetVersion | None,
    *,
    field: str = "dataset.labels",
    remedy: str = "correct the names",
) -> list[str]:
    """Class names in the order of their index.

    The parent's order where there is one; else that of the classes `asked` for in `field`; else the source's.
    Raises DatasetError where the label set differs from the parent's, the source does not have a label (`remedy` is
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
        raise DatasetError(f"dataset.source {source.uri} has no class folders: put images under {source.class_place}")
    known = set(source.classes)
    missing = [label for label in labels if label not in known]
    if missing:
        raise DatasetError(
            f"{field} names {len(missing)} classes that {source.uri} does not have: "
            + "; ".join(_with_nearest(label, source.classes) for label in missing[:10])
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


def read_labels_file(s3: S3Client, uri: str) -> list[str]:
    """Read class names in the order of their index, as `dataset.labels` reads them: one per line, or a JSON list.

    `labels.json` of a dataset version is such a list. Raises DatasetError for other documents, and for a name that
    is there twice.
    """
    body = read_document(s3, FIELD, uri)
    names = _listed(uri, body) if uri.lower().endswith(".json") else _written(uri, body)
    if not names:
        raise DatasetError(f"{FIELD} {uri} names no class: write one class per line")
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        shown = ", ".join(map(repr, repeated[:10]))
        raise DatasetError(f"{FIELD} {uri} names {shown} more than once: a class has one index")
    return names


def _written(uri: str, body: bytes) -> list[str]:
    return _names(uri, listed("\n".join(line for _, line in text_lines(FIELD, uri, body)), one_line=True))


def _listed(uri: str, body: bytes) -> list[str]:
    try:
        document = parse_json(body.decode("utf-8-sig"))
    except ValueError as error:
        raise DatasetError(f"{FIELD} {uri} is not a JSON document: {error}") from error
    return _names(uri, listed(document, one_line=True) if isinstance(document, list) else document)


def _names(uri: str, names: object) -> list[str]:
    if isinstance(names, list) and all(isinstance(name, str) and is_unicode(name) for name in names):
        return names
    raise DatasetError(f'{FIELD} {uri} is not a list of names: write ["cat", "dog"], or a class per line')


def _with_nearest(label: str, classes: Sequence[str]) -> str:
    """Quote a name that is not a class, and the class whose name is nearest to it."""
    if system_name(label) is not None:
        return f"{label!r} (a hidden or system folder, which is left out)"
    near = get_close_matches(label, classes, n=1)
    return f"{label!r} (did you mean {near[0]!r}?)" if near else repr(label)


def class_indices(labels: Sequence[str]) -> dict[str, int]:
    """The index of each class."""
    return {label: index for index, label in enumerate(labels)}


def label_vector(
    names: Sequence[str], indices: Mapping[str, int], *, multi_label: bool, origin: str
) -> tuple[float, ...]:
    """Encode the classes of one image: `(index,)`, or as many 0/1 as there are classes when multi-label.

    Raises DatasetError, naming the image as `origin`, where a single-label image has none or several.
    """
    if multi_label:
        vector = [0.0] * len(indices)
        for name in names:
            vector[indices[name]] = 1.0
        return tuple(vector)
    if len(names) != 1:
        raise DatasetError(
            f"{origin} has the labels {', '.join(names) or 'none'}, an image of a single-label version has one: "
            "build the version again, or with dataset.multi_label"
        )
    return (float(indices[names[0]]),)

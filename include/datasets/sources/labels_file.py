"""A file of class names in S3, and which classes a run conf asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.datasets.errors import DatasetError
from include.datasets.labels import with_nearest
from include.datasets.sources.text_document import parse_json, read_document, text_lines
from include.run_conf.values import is_unicode, listed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

FIELD = "dataset.labels_file"


def asked_labels(s3: S3Client, conf: DatasetConf) -> list[str]:
    """Return the classes that a run conf names, in class order; none stands for all of the source.

    They are ``dataset.labels``, else the names in ``dataset.labels_file``. Raises DatasetError where both are given and
    a label is none of the file's names, and for a file that ``read_labels_file`` refuses.
    """
    if not conf.labels_file:
        return list(conf.labels)
    names = read_labels_file(s3, conf.labels_file)
    strange = [label for label in conf.labels if label not in set(names)]
    if strange:
        raise DatasetError(
            f"dataset.labels names {len(strange)} classes that {FIELD} {conf.labels_file} does not have: "
            + "; ".join(with_nearest(label, names) for label in strange[:10])
        )
    return list(conf.labels) or names


def read_labels_file(s3: S3Client, uri: str) -> list[str]:
    """Read class names in the order of their index, as `dataset.labels` reads them: one per line, or a JSON list.

    ``labels.json`` of a dataset version is such a list. Raises DatasetError for other documents, and for a name that
    is there twice.
    """
    body = read_document(s3, FIELD, uri)
    names = _listed(uri, body) if uri.lower().endswith(".json") else _written(uri, body)
    if not names:
        raise DatasetError(f"{FIELD} {uri} names no class: write a class a line")
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
        raise DatasetError(f"{FIELD} {uri} is no JSON document: {error}") from error
    return _names(uri, listed(document, one_line=True) if isinstance(document, list) else document)


def _names(uri: str, names: object) -> list[str]:
    if isinstance(names, list) and all(isinstance(name, str) and is_unicode(name) for name in names):
        return names
    raise DatasetError(f'{FIELD} {uri} is no list of names: write ["cat", "dog"], or a class per line')

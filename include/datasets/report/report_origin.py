"""A dataset page's account of how the version came about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.datasets.version import DatasetVersion
from include.pages.elements import Markup, listed
from include.web_addresses import shown_address


def origin(version: DatasetVersion) -> Markup:
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

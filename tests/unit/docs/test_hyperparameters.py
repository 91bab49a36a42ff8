"""The table of hyperparameters in the page of the algorithm container, against the container's own."""

from __future__ import annotations

import re
from dataclasses import asdict

from containers.image_classification.hyperparameters import read_hyperparameters
from tests.unit.docs.commands import ROOT

REQUIRED = {"num_classes": "2", "num_training_samples": "9"}


def table() -> dict[str, str]:
    """The default of every hyperparameter, as the page writes it."""
    page = (ROOT / "docs/reference/container.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|[^|]*\| ([^|]+) \|$", page.partition("## Hyperparameters")[2], re.MULTILINE)
    defaults = {}
    for names, default in rows:
        named = re.findall(r"`(\w+)`", names)
        texts = default.split(", ") if len(default.split(", ")) == len(named) else [default] * len(named)
        defaults.update(zip(named, texts, strict=True))
    return defaults


def test_the_page_lists_every_hyperparameter_with_its_default() -> None:
    found = asdict(read_hyperparameters(REQUIRED).hyperparameters())
    written = table()

    assert written.keys() == found.keys()
    for name, value in found.items():
        if name in REQUIRED:
            assert written[name] == "required"
        elif not value:
            assert written[name].partition(":")[0] in ("none", "0", "False", "0.0"), name
        elif isinstance(value, float):
            assert float(written[name]) == value, name
        elif isinstance(value, int | str):
            assert written[name] == str(value), name

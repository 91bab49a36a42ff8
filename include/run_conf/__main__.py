"""The reference page of the run conf: `python -m include.run_conf > docs/reference/run-conf.md`."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import Any

from pydantic_core import to_jsonable_python

from include.run_conf import PRESETS, RunConf
from include.run_conf.fields import ConfField, known_fields

INTRODUCTION = """\
# Run conf

What a run does. Every field has a default, so an empty conf (`{}`) is a whole run. The trigger form shows the same
fields; the API and the CLI take them as JSON, nested, dotted, or both:

```json
{"training": {"mode": "tune"}, "training.hyperparameters.epochs": 10, "endpoint.keep": false}
```

The form, JSON and files are read alike. `"10, 20"`, `[10, 20]` and `"10,20"` are the same steps of the learning rate. A
list is a JSON list or has one text per line; where the table says "between commas", one line may hold several. Blank
lines, byte order marks, quotes around a text and Windows line ends do not matter; `null` and `None` are empty.

A field given twice, an unknown field, a wrong value and a contradiction are all reported in one message before anything
is started. The message suggests the field that was meant (`lr`: `training.hyperparameters.learning_rate`) or the value
(`28x28`: `3,28,28`) if there is one that is near. What does not depend on a wrong field is still checked.
`num_classes`, `num_training_samples` and `multi_label` of a training job
follow from the dataset version.

`preset` fills in what you do not give: `{"preset": "photographs", "dataset.source": "s3://my-bucket/photos/"}` is a
whole run. A field that you give overrides the preset. If you name images of your own (`dataset.source`,
`dataset.label_tables`, `dataset.image_list`, `dataset.inventory` or `dataset.version`), the preset's own images,
labels and split do not count; its packing does. `null` is a field that you do not give. The first task logs what the
preset has set, and the run conf that is kept with a model holds these values and no preset.

{presets}

Whole run confs of five public write-ups are [presets and examples](../how-to/write-ups.md).

This page is printed by `python -m include.run_conf`.
"""


def reference_page() -> str:
    """The page in Markdown, a table for each section."""
    presets = "\n".join(f"- `{name}`: {purpose}" for name, purpose in PRESETS.items())
    parts = [INTRODUCTION.replace("{presets}", presets)]
    for section, fields in groupby(known_fields(RunConf), key=lambda field: field.section):
        rows = "\n".join(_row(field) for field in fields)
        parts.append(f"## {section}\n\n| field | default | value | meaning |\n|---|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _row(field: ConfField) -> str:
    description = str(field.schema.get("description", ""))
    empty = field.schema.get("unset") or "empty"
    cells = (f"`{field.name}`", _default(field.default, empty), field.allowed(), description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(value: Any, empty: str) -> str:
    if value is None or value in ("", [], {}):
        return empty
    return f"`{json.dumps(to_jsonable_python(value))}`"


if __name__ == "__main__":
    sys.stdout.write(reference_page())

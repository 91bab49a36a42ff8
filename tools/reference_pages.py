"""Print a reference page that the code knows: `python tools/reference_pages.py settings > docs/reference/settings.md`.

`make` prints the page of the make targets. tools/dag_pages.py prints that of the DAGs, and `python -m include.run_conf`
that of the run conf.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRINTED = "This page is printed by `python tools/reference_pages.py {name}`."
SETTINGS = """\
# Settings

What belongs to the installation and not to a run: one Airflow Variable, `image_classification`, with a JSON object.

    airflow variables set image_classification '{"data_bucket": "my-images", "output_bucket": "my-models", \
"execution_role_arn": "arn:aws:iam::123456789012:role/sagemaker-execution", "region": "eu-central-1"}'

Settings that are required have no default. An unknown name or a wrong value is reported by name, all in one message.
[Installation](../how-to/installation.md#the-settings) shows where they come from.
"""
MAKE = """\
# Make targets

`make` alone prints this list. Each target first makes the environments that it needs.
"""


def settings_page() -> str:
    """Every setting with its default, the values that it takes, and its meaning."""
    from include.run_conf.fields import known_fields  # noqa: PLC0415
    from include.settings import Settings  # noqa: PLC0415

    rows = ["| setting | default | value | meaning |", "|---|---|---|---|"]
    for field in known_fields(Settings):
        if Settings.model_fields[field.name].is_required():
            default = "required"
        else:
            default = "empty" if field.default in ("", [], {}) else f"`{json.dumps(field.default)}`"
        cells = (f"`{field.name}`", default, field.allowed(), str(field.schema.get("description", "")))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([SETTINGS, *rows, "", PRINTED.format(name="settings"), ""])


def make_page() -> str:
    """Every target of the Makefile and every benchmark, with what it does."""
    targets = re.findall(r"^([a-z-]+):.*## (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    rows = ["| target | does |", "|---|---|", *(f"| `make {name}` | {text} |" for name, text in targets)]
    return "\n".join([MAKE, *rows, "", PRINTED.format(name="make"), ""])


PAGES = {"settings": settings_page, "make": make_page}

if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in PAGES]:
        sys.exit(f"Name one page: {', '.join(PAGES)}.")
    sys.path.insert(0, str(ROOT))
    sys.stdout.write(PAGES[sys.argv[1]]())

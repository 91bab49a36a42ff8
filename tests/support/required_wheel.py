"""A package `required` of one empty module, as a requirements.txt names it: installed without a package index."""

from __future__ import annotations

import io
import zipfile

WHEEL = "required-1.0-py3-none-any.whl"


def wheel() -> bytes:
    """The wheel's content."""
    information = {"METADATA": "Metadata-Version: 2.1\nName: required\nVersion: 1.0\n", "WHEEL": "Wheel-Version: 1.0\n"}
    information |= {"RECORD": ""}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        packed.writestr("required.py", "")
        for name, text in information.items():
            packed.writestr(f"required-1.0.dist-info/{name}", text)
    return sink.getvalue()

"""What a new interpreter loads and prints: it pays for every import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.unit.docs.commands import shown

ROOT = Path(__file__).parents[2]


def test_packing_images_loads_no_pydantic() -> None:
    code = "import sys, include.recordio.images, include.recordio.options; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_sdk_is_not_imported_for_it() -> None:
    code = "import sys, include.sagemaker.containers as a; a.algorithm_image('us-east-1'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sagemaker" not in done.stdout.split()


def test_the_command_prints_the_page() -> None:
    into, alone = shown("python -m include.run_conf*")
    *words, sign, page = into.words
    assert [words, sign] == [[*alone.words], ">"]

    printed = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True)

    assert printed.stdout == (ROOT / page).read_text(encoding="utf-8")

from __future__ import annotations

import dataclasses
import subprocess
import sys

from include.recordio.image_steps import ImageSteps
from include.recordio.options import ImageOptions


def test_the_command_line_packs_with_the_options_and_defaults_of_the_run_conf() -> None:
    assert dataclasses.asdict(ImageSteps()) == ImageOptions().model_dump()


def test_packing_images_loads_no_pydantic() -> None:
    code = "import sys, include.recordio.images; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The table of image URIs beside the SDK that it was made from, in the SDK's environment."""

from __future__ import annotations

import json
from pathlib import Path

from include.sagemaker.containers import ALGORITHM, TABLE, algorithm_image, registry_accounts
from tests.support.makefile import recipe
from tests.support.sdk import ROOT, SDK_V3, run_script
from tests.unit.docs.commands import shown


def test_every_region_has_the_image_that_the_sdk_names(tmp_path: Path) -> None:
    result = tmp_path / "uris.json"
    run_script(SDK_V3, Path(__file__).with_name("image_uris_of_sdk.py"), ALGORITHM, result, home=tmp_path)

    assert {region: algorithm_image(region) for region in registry_accounts()} == json.loads(result.read_text())


def test_make_image_uris_would_write_the_tables_that_are_there(tmp_path: Path) -> None:
    (command,) = shown("make image-uris")
    (line,) = recipe(command.words)
    python, script = line.split()

    run_script(python.partition("/")[0], ROOT / script, tmp_path / "made", home=tmp_path)

    made = {path.relative_to(tmp_path / "made"): path.read_text() for path in (tmp_path / "made").rglob("*.json")}
    assert TABLE.relative_to(ROOT) in made
    assert made == {path: (ROOT / path).read_text() for path in made}
    assert len(made) == 2

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from include.run_conf import RunConf

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS = set(RunConf.model_fields)


def run_confs() -> list[Any]:
    """Every JSON block of the pages whose fields are those of a run conf."""
    blocks = [
        pytest.param(json.loads(block), id=f"{page.name} {number}")
        for page in PAGES
        for number, block in enumerate(re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL), start=1)
    ]
    return [block for block in blocks if SECTIONS & {name.partition(".")[0] for name in block.values[0]}]


@pytest.mark.parametrize("conf", run_confs())
def test_every_run_conf_on_a_page_is_accepted(conf: dict[str, Any]) -> None:
    RunConf.from_conf(conf)


def test_the_readme_shows_a_run_conf_from_images_to_an_endpoint() -> None:
    (first, *_) = [param.values[0] for param in run_confs() if str(param.id).startswith("README.md")]

    assert {"dataset", "training", "tuning", "incremental", "promotion"} <= first.keys()


def test_every_example_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()

    for example in (ROOT / "docs" / "examples").iterdir():
        assert f"](docs/examples/{example.name})" in readme


def test_the_demo_runs_with_an_accepted_conf() -> None:
    conf = RunConf.from_conf(json.loads((ROOT / "demo" / "run_conf.json").read_text()))

    assert conf.training.mode == "both"
    assert conf.incremental.enabled


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

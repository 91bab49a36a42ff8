from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from include.run_conf import RunConf

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: json.loads(text)["dataset"]["name"])
def test_every_run_conf_of_the_readme_is_accepted(example: str) -> None:
    conf = RunConf.from_conf(json.loads(example))

    assert conf.dataset.source


def test_the_demo_runs_with_an_accepted_conf() -> None:
    conf = RunConf.from_conf(json.loads((ROOT / "demo" / "run_conf.json").read_text()))

    assert conf.training.mode == "both"
    assert conf.incremental.enabled


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from include.run_conf import RunConf
from tests.support.pictures import jpeg
from tests.unit.docs.commands import ROOT, readme_commands

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    """Those with `.local/run`, and the upload, need services: tests/end_to_end/test_readme.py runs them."""
    commands = readme_commands()
    runners = ("make ", ".local/run ", ".venv/bin/python -m include.", ".venv/bin/python -m im2rec")

    assert len(commands) >= 12
    assert all(command.startswith(runners) for command in commands), commands
    assert {*re.findall(r"-m ([\w.]+)", " ".join(commands))} == {
        "include.datasets.upload",
        "include.deployment.predict",
        "im2rec",
        "im2rec.inspect",
    }


def test_every_make_target_on_a_page_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets |= {f"bench-{file.stem.replace('_', '-')}" for file in (ROOT / "benchmarks").iterdir()}
    for page in PAGES:
        named = set(re.findall(r"(?:`|^ {4})make ([a-z][a-z-]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, f"{page.name}: {named - targets}"


def test_the_im2rec_commands_of_the_readme_work_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        file = tmp_path / "FOLDER" / ("cat", "dog")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(seed=number))
    commands = [command for command in readme_commands() if "-m im2rec" in command]
    assert len(commands) == 3

    for command in commands:
        _, _, module, *arguments = shlex.split(command)
        entry = f"{module}.__main__" if module == "im2rec" else module
        assert importlib.import_module(entry).main(arguments) == 0

    assert (tmp_path / "PREFIX.lst").exists()
    assert "4" in capsys.readouterr().out

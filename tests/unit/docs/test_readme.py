from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

from include.run_conf import RunConf
from tests.support import documents
from tests.support.pictures import jpeg
from tests.unit.docs.commands import FIRST_RUN, README, ROOT, WRITE_UPS, commands_of


def test_the_readme_has_at_most_800_words() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 800


def test_the_page_of_the_demo_shows_a_run_conf_from_images_to_an_endpoint() -> None:
    (first, *_) = re.findall(r"```json\n(.*?)```", FIRST_RUN.read_text(encoding="utf-8"), re.DOTALL)

    assert {"dataset", "training", "tuning", "incremental", "promotion"} <= json.loads(first).keys()


def test_every_example_is_linked_from_the_page_of_the_write_ups() -> None:
    page = WRITE_UPS.read_text(encoding="utf-8")

    for example in documents.WRITE_UPS.values():
        assert f"](../../{example.relative_to(ROOT)})".replace("../../docs", "..") in page


def test_the_demo_runs_with_an_accepted_conf() -> None:
    conf = RunConf.from_conf(json.loads((ROOT / "demo" / "run_conf.json").read_text()))

    assert conf.training.mode == "both"
    assert conf.incremental.enabled


def test_photographs_of_ones_own_are_trained_with_an_accepted_conf() -> None:
    conf = RunConf.from_conf(json.loads((ROOT / "demo" / "photographs.json").read_text()))

    assert f"{conf.dataset.source[0]}\n" in f"{README.read_text(encoding='utf-8')}\n"
    assert f"include.deployment.predict {conf.dataset.name} " in README.read_text(encoding="utf-8")


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    """`make demo`, and those with `.local/run`, need services: tests/end_to_end/test_readme.py runs them."""
    commands = commands_of(README)
    made = [command for command in commands if command.startswith("make ")]
    modules = re.findall(r"-m ([\w.]+)", " ".join(commands))

    assert made == ["make demo", "make test", "make local"]
    assert all(command.startswith(".local/run ") for command in commands if command not in made)
    assert modules == ["include.datasets.upload", "include.deployment.predict"]


def test_the_im2rec_commands_work_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        file = tmp_path / "ROOT" / ("cat", "dog")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(seed=number))
    commands = [each for each in commands_of(ROOT / "docs/reference/im2rec.md") if "-m im2rec" in each][:3]

    for command in commands:
        _, _, module, *arguments = shlex.split(command)
        entry = f"{module}.__main__" if module == "im2rec" else module
        assert importlib.import_module(entry).main(arguments) == 0

    assert (tmp_path / "PREFIX.lst").exists()
    assert "4" in capsys.readouterr().out

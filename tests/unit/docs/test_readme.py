from __future__ import annotations

import json
import re
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

import im2rec.__main__ as im2rec
from im2rec import inspect
from include.recordio.format import RecordWriter, encode_image_record
from include.run_conf import RunConf
from tests.support import documents
from tests.support.pictures import jpeg
from tests.unit.docs.commands import FIRST_RUN, README, ROOT, WRITE_UPS, commands_of, shown


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


def test_the_readme_shows_the_demo_the_tests_and_photographs_of_ones_own() -> None:
    """test_shown_commands.py has which tests run them."""
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

    for command in shown(".venv/bin/python -m im2rec PREFIX *"):
        assert im2rec.main(command.words[3:]) == 0

    assert (tmp_path / "PREFIX.lst").exists()
    (command,) = shown(".venv/bin/python -m im2rec.inspect PREFIX.rec")
    assert inspect.main(command.words[3:]) == 0
    assert "4 records" in capsys.readouterr().out


@mock_aws
def test_record_files_on_disk_and_in_s3_are_inspected_with_the_options_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    (command,) = shown(".venv/bin/python -m im2rec.inspect FILE.rec *")
    _, _, _, file, uri, *options = command.words
    with Path(file).open("wb") as rec:
        RecordWriter(rec).write(0, encode_image_record([1], 0, jpeg()))
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.upload_file(file, bucket, key)

    assert inspect.main([file, uri, *(option.strip("[]") for option in options)]) == 0

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["records"], each["is_sound"]) for each in found] == [(1, True)] * 2

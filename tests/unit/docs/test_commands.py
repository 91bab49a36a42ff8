"""Every command and every conf that a page shows: its targets, modules, options, files and fields exist.

test_shown_commands.py has which test runs each command.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session

from include.run_conf import RunConf
from include.run_conf.endpoint import PredictionConf
from include.settings import Settings
from tests.support.aws_cli import OF_THE_CLI, RENAMED
from tests.unit.docs.commands import (
    OF_THE_SYSTEM,
    PAGES,
    PYTHON,
    ROOT,
    RUN,
    commands_of,
    commands_shown,
    shown_json,
)

OF_THE_AWS_CLI = {*OF_THE_CLI, ("s3", "cp")}
INSTALLED = {"pytest"}
SECTIONS = {*RunConf.model_fields}
SETTINGS = {*Settings.model_fields}
OTHER_JSON = {
    *("prediction", "error", "InferenceId"),  # answers
    *("action", "failure_reason"),  # faults of the local AWS
    *("repository", "messages", "occasion", "min"),  # local.json, counts, a filter, a range
    "source",  # predict_images
}
"""How JSON of something else than a run conf or the settings begins."""
NEEDED = {
    "data_bucket": "my-images",
    "output_bucket": "my-models",
    "execution_role_arn": "arn:aws:iam::123456789012:role/sagemaker-execution",
    "region": "eu-central-1",
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def check_conf(conf: dict[str, Any]) -> None:
    names = {name.partition(".")[0] for name in conf}
    if names <= SECTIONS:
        RunConf.from_conf(conf)
    elif names <= SETTINGS:
        assert not Settings.read({**NEEDED, **conf})[1], conf
    else:
        assert next(iter(conf)) in OTHER_JSON, f"neither a run conf nor settings: {conf}"


def check_make(words: list[str]) -> None:
    target, *rest = words
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    readers = makefile + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tools").glob("*.py"))
    benchmarks = {f"bench-{file.stem.replace('_', '-')}" for file in (ROOT / "benchmarks").iterdir()}
    assert target in {*re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)} | benchmarks, f"make {target}"
    for word in rest:
        assert word.partition("=")[0] in readers, f"make {target} {word}"


def check_python(words: list[str]) -> None:
    """A module with its options, or a file; options are those that its source names."""
    if words[0] != "-m":
        assert (ROOT / words[0]).exists() or words[0] == "train.py", words
        return
    module, *arguments = words[1:]
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    if module in INSTALLED:
        for path in [word.partition("::")[0] for word in arguments if word.startswith("tests/")]:
            assert (ROOT / path).exists() or "RESOURCE" in path, path
        return
    folder = Path(spec.origin or "").parent
    sources = folder.rglob("*.py") if spec.submodule_search_locations else [Path(spec.origin or "")]
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    for option in [word.strip("[]") for word in arguments if word.strip("[").startswith("--")]:
        assert f'"{option.partition("=")[0]}"' in source, f"{module} {option}"


def check_airflow(words: list[str]) -> None:
    from airflow.cli.cli_parser import get_parser  # noqa: PLC0415

    asked = vars(get_parser().parse_args(words)) if len(words) > 2 else {}
    if dag := asked.get("dag_id"):
        assert (ROOT / "dags" / f"{dag}.py").exists(), dag
    if conf := asked.get("conf"):
        if file := re.match(r"^\$\(cat (\S+)\)$", conf):
            conf = (ROOT / file[1]).read_text(encoding="utf-8")
        content = json.loads(conf)
        page = (ROOT / "dags" / f"{dag}.py").read_text(encoding="utf-8")
        own = {name for name in content if name.partition(".")[0] not in SECTIONS}
        assert all(f"`{name}`" in page or f'"{name}"' in page for name in own), (dag, own)
        PredictionConf.model_validate({name: content[name] for name in own & PredictionConf.model_fields.keys()})
        RunConf.from_conf({name: value for name, value in content.items() if name not in own})
    if asked.get("key") == "image_classification" and str(asked.get("value")).startswith("{"):
        check_conf(json.loads(str(asked["value"])))


def check_aws(words: list[str]) -> None:
    service, operation = words[:2]
    if (service, operation) in OF_THE_AWS_CLI:
        return
    model = get_session().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    assert operation in names, words
    members = {xform_name(name, "-") for name in model.operation_model(names[operation]).input_shape.members}
    options = {word.removeprefix("--") for word in words[2:] if word.startswith("--")}
    assert options <= members | {"query", "output", *RENAMED}, words


CHECKS = {"make": check_make, "airflow": check_airflow, "aws": check_aws}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_can_be_given(page: Path) -> None:
    for command in commands_shown(page):
        program, *rest = command.words[command.words[0] == ".local/run" and len(command.words) > 1 :]
        if rest and PYTHON.match(program):
            check_python(rest)
        elif rest and program in CHECKS:
            CHECKS[program](rest)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_conf_of_a_page_is_accepted(page: Path) -> None:
    if page.name not in ("run-conf.md", "settings.md"):  # printed from the models: values of single fields
        for conf in shown_json(page):
            check_conf(conf)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_shows_no_other_program_than_those_that_are_checked(page: Path) -> None:
    """A line that looks like a command, and is of a program that no check knows, is a gap."""
    for line in commands_of(page):
        first = line.split()[0]
        if re.match(r"^(\./|\.venv|[a-z][a-z0-9-]+$)", first) and re.search(r" -{1,2}[a-z]", line) and "->" not in line:
            known = first in {*RUN, *OF_THE_SYSTEM} or PYTHON.match(first) or first.startswith(".venv")
            assert known, f"{name_of(page)}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_block_of_a_page_is_python(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        compile(dedent(block), name_of(page), "exec")


def test_the_checks_refuse_what_does_not_exist() -> None:
    for check, words in (
        (check_make, ["no-such-target"]),
        (check_make, ["demo", "NO_SUCH_VARIABLE=1"]),
        (check_python, ["-m", "include.datasets.upload", "--no-such-option"]),
        (check_python, ["tools/no_such_file.py"]),
        (check_aws, ["ecr", "create-repositories"]),
        (check_aws, ["ecr", "create-repository", "--no-such-option"]),
        (check_airflow, ["dags", "unpause", "no_such_dag"]),
    ):
        with pytest.raises(AssertionError):
            check(words)
    with pytest.raises(ValueError, match="no such field"):
        check_conf({"training": {"epoch": 3}})

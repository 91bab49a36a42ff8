from __future__ import annotations

import re
import socket
from pathlib import Path

import airflow
import pytest
import yaml
from cryptography.fernet import Fernet

from demo.bootstrap import LocalSettings
from demo.services import ROOT, Services, ServicesError, airflow_environment, down, requested_ports, up

pytestmark = pytest.mark.enable_socket
AWS_URL = "http://127.0.0.1:4566"


def test_a_taken_port_is_named_with_the_variable_that_chooses_another(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ServicesError) as refusal:
            up(tmp_path, port, 1, print)

    message = str(refusal.value)
    assert str(port) in message
    assert f"PORT={port + 1}" in message
    assert "\n" not in message


def test_two_services_on_one_port_are_refused_before_either_starts(tmp_path: Path) -> None:
    with pytest.raises(ServicesError, match="PORT and AIRFLOW_PORT are both 4600"):
        up(tmp_path, 4600, 4600, print)


@pytest.mark.parametrize("value", ["http", "0", "70000", "-1"])
def test_what_is_no_port_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_PORT", value)

    with pytest.raises(ServicesError, match=f"AIRFLOW_PORT={value} is not a port"):
        requested_ports()


def test_the_ports_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "4600")
    monkeypatch.setenv("AIRFLOW_PORT", "")

    assert requested_ports() == (4600, 8080)


def test_nothing_of_the_callers_own_aws_or_airflow_reaches_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL_S3",
        "AIRFLOW__CORE__EXECUTOR",
        "AIRFLOW_HOME",
    ):
        monkeypatch.setenv(variable, "of-my-own")

    environment = airflow_environment(tmp_path, LocalSettings.at(AWS_URL), AWS_URL, "http://127.0.0.1:8080")

    assert "of-my-own" not in environment.values()
    assert environment["AWS_ENDPOINT_URL"] == AWS_URL
    assert environment["AIRFLOW_HOME"] == str(tmp_path / "airflow")
    assert environment["PYTHONPATH"].split(":") == [str(ROOT), str(ROOT / "plugins")]


def test_no_component_has_to_read_a_key_that_another_one_writes(tmp_path: Path) -> None:
    """A triggerer that came before the file was whole had no Fernet key, could not read its triggers and ended."""
    once, again = (
        airflow_environment(tmp_path, LocalSettings.at(AWS_URL), AWS_URL, "http://127.0.0.1:8080") for _ in range(2)
    )
    sections = yaml.safe_load((Path(airflow.__file__).parent / "config_templates" / "config.yml").read_text())
    made_up = {
        f"AIRFLOW__{section.upper()}__{option.upper()}"
        for section, described in sections.items()
        for option, facts in described["options"].items()
        if re.fullmatch(r"\{\w*_KEY\}", str(facts.get("default")))
    }

    assert len(made_up) >= 3
    assert made_up <= once.keys()
    assert all(once[name] != again[name] for name in made_up)
    Fernet(once["AIRFLOW__CORE__FERNET_KEY"].encode())


def test_the_services_keep_the_byte_code_of_what_they_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    environment = airflow_environment(tmp_path, LocalSettings.at(AWS_URL), AWS_URL, "http://127.0.0.1:8080")

    assert "PYTHONDONTWRITEBYTECODE" not in environment


@pytest.mark.parametrize("content", ["[]", "{}", '{"processes": [{"pid": 1}]}', "half a fi"])
def test_a_note_of_another_version_is_nothing_that_runs(content: str, tmp_path: Path) -> None:
    (tmp_path / "services.json").write_text(content)

    assert Services.read(tmp_path) is None


def test_ending_what_never_ran_says_so(tmp_path: Path) -> None:
    said: list[str] = []

    down(tmp_path, said.append)

    assert said == ["Nothing is running."]

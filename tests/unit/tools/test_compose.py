from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from include.settings import Settings
from tools import compose

COMPOSE_FILE = Path(__file__).resolve().parents[3] / "docker-compose.yaml"


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compose, "ENV_FILE", tmp_path / ".env")
    return tmp_path / ".env"


def test_secrets_are_made_up_once_and_only_their_owner_reads_them(env_file: Path) -> None:
    first = compose.environment_file()

    assert compose.environment_file() == first
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    env_file.unlink()
    second = compose.environment_file()
    secrets = [name for name in first if name.endswith(("_PASSWORD", "_KEY", "_SECRET")) and not name.startswith("AWS")]
    assert len(secrets) == 6
    assert all(first[name] != second[name] for name in secrets)


def test_an_env_file_that_others_may_read_becomes_its_owners(env_file: Path) -> None:
    env_file.write_text("ADMIN_PASSWORD=mine\n")
    env_file.chmod(0o644)

    assert compose.environment_file() == {"ADMIN_PASSWORD": "mine"}
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600


def test_every_variable_of_the_compose_file_without_a_default_is_in_the_env_file(env_file: Path) -> None:
    wanted = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)\}", COMPOSE_FILE.read_text()))

    assert wanted <= {*compose.environment_file()}


def test_the_settings_of_the_installation_are_settings_of_the_chain(env_file: Path) -> None:
    variable = compose.environment_file()["AIRFLOW_VAR_IMAGE_CLASSIFICATION"]

    settings = Settings.from_variable(json.loads(variable))
    assert settings.queue_url.startswith(compose.LOCAL_AWS)
    assert not settings.imagenet_weights, "the local AWS runs our own algorithm"


def test_only_loopback_ports_are_published() -> None:
    published = re.findall(r'- "([^"]*):\d+"\n', COMPOSE_FILE.read_text())

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)

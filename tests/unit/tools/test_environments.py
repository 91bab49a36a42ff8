from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tools import environments
from tools.environments import LOCKS, SetupError, as_far_as_they_reach, interpreter, read_constraints


def test_constraints_are_kept_except_where_the_project_is_ahead() -> None:
    published = (
        "# comment\nAPScheduler==3.11.3\nbotocore==1.43.56\nnumpy==2.5.1\napache-airflow-providers-amazon==9.34.0\n"
    )

    assert list(as_far_as_they_reach(published)) == [
        "# comment",
        "APScheduler==3.11.3",
        "numpy==2.5.1 ; python_version >= '3.12'",
    ]


def test_constraints_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTRAINTS", str(tmp_path / "absent.txt"))

    with pytest.raises(SetupError, match=r"constraints at .*absent\.txt cannot be read .*CONSTRAINTS=FILE"):
        read_constraints()


def test_a_python_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SetupError, match=r"Python 3\.13 is needed, and no python3\.13 is on PATH or among pyenv's"):
        interpreter("3.13")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.source.relative_to(environments.ROOT)))
def test_every_version_is_pinned_with_its_hashes(lock: environments.Lock) -> None:
    compiled = lock.source.with_suffix(".txt").read_text().replace("\\\n", " ")

    for line in compiled.splitlines():
        assert re.match(r"[a-z0-9-]+==\S+( ; [^#]*?)? +--hash=sha256:[0-9a-f]{64}", line), line


def test_the_sdk_is_not_installed_beside_airflow() -> None:
    (client_side,) = environments.SAGEMAKER_ENVIRONMENT.requirements

    assert "\nsagemaker-core==" in client_side.read_text()
    for file in environments.AIRFLOW:
        assert "\nsagemaker-core==" not in file.read_text()


def pip_report(tmp_path: Path, version: str, url: str, *needs: str) -> Path:
    report = tmp_path / "report.json"
    metadata = {"version": version, "requires_dist": [*needs]}
    report.write_text(json.dumps({"install": [{"metadata": metadata, "download_info": {"url": url}}]}))
    return report


def test_the_build_of_pytorch_that_pip_chose_is_named_before_it_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    web = "https://index.example/torch.whl"

    def build(version: str, url: str, *needs: str) -> str:
        return environments.torch_build(pip_report(tmp_path, version, url, *needs))

    assert build("2.13.0+cpu", "file:///wheels/torch.whl") == "PyTorch 2.13.0+cpu from this machine's disk"
    assert "for the CPU, a download of about 200 MB" in build("2.13.0", web, "sympy")
    cuda = build("2.13.0", web, "nvidia-cublas==13.1; platform_system == 'Linux'")
    assert "for CUDA, a download of several GB" in cuda
    assert "TORCH_INDEX" in cuda


def test_an_environment_with_another_pytorch_is_another(tmp_path: Path) -> None:
    def fingerprint(torch: str) -> str:
        return environments.Environment(tmp_path, (), torch=torch).fingerprint()

    assert len({fingerprint(""), fingerprint("2.13.0"), fingerprint("2.12.0")}) == 3


def test_without_a_compiler_the_environment_of_pytorch_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SetupError, match=r"install a C compiler and the headers .*apt-get install gcc"):
        environments.make_stale((environments.Environment(tmp_path / "venv", (), torch="2.13.0"),))

from __future__ import annotations

import socket
import sys

import pytest

from demo import __main__ as commands
from demo.airflow_client import AirflowClient, AirflowError


@pytest.mark.parametrize("command", ["run", "up"])
def test_an_interrupt_while_libraries_load_ends_in_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name in ("demo.run", "demo.services"):
                raise KeyboardInterrupt

    for name in ("demo.run", "demo.services"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])

    assert commands.main([command]) == 130
    assert capsys.readouterr().err == "Interrupted: nothing was started.\n"


@pytest.mark.enable_socket
def test_an_airflow_that_is_gone_is_told_in_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(AirflowError, match=f"Airflow at {url}/? does not answer any more: "):
            AirflowClient(url, "admin", "password")

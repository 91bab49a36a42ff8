"""Requests that the scripted container answers when a test lets them go."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from tests.support.local_aws import eventually


class Gate:
    """A named pipe at whose reading end the container waits, for the request with this `body`."""

    def __init__(self, folder: Path) -> None:
        self._pipe = folder / uuid4().hex
        os.mkfifo(self._pipe)
        self._end: int | None = None

    @property
    def body(self) -> bytes:
        return f"wait for {self._pipe}".encode()

    def is_reached(self) -> bool:
        """Whether the container waits, or has waited."""
        if self._end is None:
            try:
                self._end = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False
        return True

    def wait_until_reached(self) -> None:
        eventually(self.is_reached)

    def open(self) -> None:
        """Let the request go, once it is there."""
        self.wait_until_reached()
        assert self._end is not None
        os.close(self._end)

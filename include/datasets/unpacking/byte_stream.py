"""Read an S3 object or a web address once, front to back, and continue where a body breaks off."""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from include.datasets.errors import DatasetError
from include.datasets.unpacked import Fingerprint

log = logging.getLogger(__name__)

TRIES = 6
"""Attempts in a row that give less than `PROGRESS` bytes; after them the address is given up."""
PROGRESS = 1 << 20
LONGEST_WAIT = 30.0
"""Seconds between two attempts; the first waits are shorter."""
CHUNK = 1 << 20


class BrokenOffError(Exception):
    """An attempt that may succeed when it is repeated, after `wait` seconds if the server names them."""

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Body(Protocol):
    """The bytes from `start` to the end of an address's content."""

    start: int
    fingerprint: Fingerprint

    def read(self, amount: int, /) -> bytes:
        """Give at most `amount` bytes, none at the end. Raises BrokenOffError."""

    def close(self) -> None:
        """Let the connection go."""


class Remote(Protocol):
    """An address that can be asked for its content from any byte on."""

    shown: str
    """The address as messages may show it."""

    def look(self) -> Fingerprint:
        """Ask what is there without reading it. Raises BrokenOffError and DatasetError."""

    def open(self, start: int, expected: Fingerprint | None) -> Body:
        """Ask for the bytes from `start` on of the expected content.

        The body may begin at byte 0 instead. Raises BrokenOffError if another try may succeed, DatasetError if none
        will.
        """


class ByteStream:
    """A binary source over an address, read forward in bounded memory.

    A body that breaks off is continued at the byte it had reached, on condition that the content is still the same; a
    server without ranges is read again from its first byte. `offset` counts the bytes that were given. Raises
    DatasetError if the content changes on the way, or the address cannot be read any further.
    """

    def __init__(self, remote: Remote, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.remote = remote
        self.offset = 0
        self.fingerprint = Fingerprint()
        self._attempts = Attempts(remote.shown, sleep)
        self._body: Body | None = None
        self._opened = False
        self._digest = hashlib.blake2b()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def read(self, amount: int, /) -> bytes:
        """Give at most `amount` bytes, none at the end."""
        while True:
            try:
                data = self._next(amount)
            except BrokenOffError as error:
                self.close()
                self._attempts.failed(error, self.offset)
            else:
                self.offset += len(data)
                if not self.fingerprint.tells_content:
                    self._digest.update(data)
                return data

    def _next(self, amount: int) -> bytes:
        size = self.fingerprint.size
        if self._opened and self.offset == size:
            return b""
        if self._body is None:
            self._body = self._open()
        data = self._body.read(amount)
        if not data and amount and (size := self.fingerprint.size) is not None and self.offset < size:
            raise BrokenOffError(f"the body ends at byte {self.offset} of {size}")
        return data

    def _open(self) -> Body:
        body = self.remote.open(self.offset, self.fingerprint if self._opened else None)
        try:
            if not self._opened:
                self.fingerprint, self._opened = body.fingerprint, True
            elif self.fingerprint.differs(body.fingerprint):
                raise changed(self.remote.shown, self.offset)
            if body.start != self.offset:
                self._skip(body)
        except BaseException:
            body.close()
            raise
        return body

    def _skip(self, body: Body) -> None:
        log.info("%s gives no ranges: read again up to byte %s", self.remote.shown, self.offset)
        digest, left = hashlib.blake2b(), self.offset
        while left:
            data = body.read(min(left, CHUNK))
            if not data:
                raise changed(self.remote.shown, self.offset)
            left -= len(data)
            if not self.fingerprint.tells_content:
                digest.update(data)
        if not self.fingerprint.tells_content and digest.digest() != self._digest.digest():
            raise changed(self.remote.shown, self.offset)


class Attempts:
    """Counts the attempts that came to nothing, and waits between them."""

    def __init__(self, shown: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._shown = shown
        self._sleep = sleep
        self._failures = 0
        self._reached = 0

    def failed(self, error: BrokenOffError, offset: int = 0) -> None:
        """Wait before the next attempt. Raises DatasetError where this was the last one."""
        if offset - self._reached >= PROGRESS:
            self._failures, self._reached = 0, offset
        self._failures += 1
        if self._failures >= TRIES:
            raise DatasetError(
                f"dataset.source = {self._shown}: {error} (byte {offset}, {TRIES} attempts): check the server and run "
                "again; what was unpacked so far is kept"
            ) from error
        log.warning("%s: %s at byte %s: attempt %s of %s", self._shown, error, offset, self._failures + 1, TRIES)
        backoff = min(LONGEST_WAIT, 0.25 * 2**self._failures) * random.uniform(0.5, 1)  # noqa: S311  (no secret)
        self._sleep(backoff if error.wait is None else min(error.wait, LONGEST_WAIT))


def look_at(remote: Remote, *, sleep: Callable[[float], None] = time.sleep) -> Fingerprint:
    """Ask what is at an address, as often as a stream would. Raises DatasetError."""
    attempts = Attempts(remote.shown, sleep)
    while True:
        try:
            return remote.look()
        except BrokenOffError as error:
            attempts.failed(error)


def changed(shown: str, offset: int) -> DatasetError:
    """Say that the content was replaced while it was read."""
    return DatasetError(
        f"dataset.source = {shown}: its content changed while it was read (at byte {offset}): run again when its "
        "upload is finished"
    )

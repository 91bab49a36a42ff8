"""Connections to web servers that nobody trusts: where they lead is checked first, and slow ones are given up.

A name is resolved once, all its addresses are checked, and the connection goes to one of those: a name that leads
elsewhere a moment later (DNS rebinding) is not asked again. The address that was really reached is checked as well.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

from include.datasets.unpacking.internal_addresses import Network, refuse_internal_address

SLOWEST = 16 << 10
"""Bytes per second."""
WINDOW = 60.0
"""Seconds of waiting over which they are measured."""
monotonic = time.monotonic


class TooSlowError(ConnectionError):
    """A server that gives fewer bytes than are worth a worker."""


class Pace:
    """Measures how much arrives in the time that is spent waiting for it, headers included.

    A reader that is busy elsewhere does not count as waiting. Raises TooSlowError below the floor.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._bytes = 0

    def waited(self, seconds: float, arrived: int) -> None:
        """Take note of one read from a socket."""
        self._seconds += seconds
        self._bytes += arrived
        if self._seconds < WINDOW:
            return
        seconds, arrived = self._seconds, self._bytes
        self._seconds, self._bytes = 0.0, 0
        if arrived < SLOWEST * seconds:
            raise TooSlowError(f"{arrived} bytes in {seconds:.0f} s, and {SLOWEST >> 10} kB a second are the least")


def guarded_manager(networks: Sequence[Network], timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """A manager for one request, whose connections lead to the public internet or to one of the networks."""
    manager = urllib3.PoolManager(timeout=timeout, ssl_context=_context(pace := Pace()))
    manager.pool_classes_by_scheme = _pools(_Guarded, pace, networks)
    return manager


def manager_behind_proxy(proxy: str, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """A manager for one request through a proxy, which alone knows where it leads."""
    manager = urllib3.ProxyManager(proxy, timeout=timeout, ssl_context=_context(pace := Pace()))
    manager.pool_classes_by_scheme = _pools(_Paced, pace, ())
    return manager


def too_slow(error: BaseException) -> TooSlowError | None:
    """The reason why a server was given up, where it lies behind an error of urllib3."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, TooSlowError):
            return each
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            waiting += [*each.args, each.__cause__, each.__context__]
    return None


class _PacedReading:
    """What both kinds of socket share: each read reports how long it waited, and for how many bytes."""

    pace: Pace

    def recv_into(self, *arguments: Any) -> int:
        started = monotonic()
        arrived: int = super().recv_into(*arguments)  # type: ignore[misc]
        self.pace.waited(monotonic() - started, arrived)
        return arrived


class _PacedSocket(_PacedReading, socket.socket):
    pass


class _PacedSecureSocket(_PacedReading, ssl.SSLSocket):
    pass


class _Paced:
    """What connections of both schemes share; `secure` ones are paced by the socket that TLS puts over theirs."""

    pace: Pace
    networks: Sequence[Network]
    secure: bool

    def _new_conn(self) -> socket.socket:
        plain = self._connected()
        if self.secure:
            return plain
        timeout = plain.gettimeout()
        paced = type("PacedSocket", (_PacedSocket,), {"pace": self.pace})(fileno=plain.detach())
        paced.settimeout(timeout)
        return cast(socket.socket, paced)

    def _connected(self) -> socket.socket:
        return cast(socket.socket, super()._new_conn())  # type: ignore[misc]


class _Guarded(_Paced):
    _dns_host: str
    host: str
    port: int

    def _connected(self) -> socket.socket:
        name = self._dns_host
        try:
            found = socket.getaddrinfo(name, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []  # urllib3 says what is wrong with the name
        for *_, address in found:
            refuse_internal_address(self.host, str(address[0]), self.networks)
        error: HTTPError | None = None
        try:
            for place in [str(address[0]) for *_, address in found] or [name]:
                self._dns_host = place
                try:
                    return self._looked_at(super()._connected(), name)
                except NewConnectionError as failed:
                    error = error or failed
        finally:
            self._dns_host = name
        assert error is not None  # noqa: S101  (there was an address to try)
        raise error

    def _looked_at(self, connection: socket.socket, name: str) -> socket.socket:
        try:
            refuse_internal_address(name, str(connection.getpeername()[0]), self.networks)
        except BaseException:
            connection.close()
            raise
        return connection


def _pools(kind: type[_Paced], pace: Pace, networks: Sequence[Network]) -> dict[str, Any]:
    guard = {"pace": pace, "networks": networks}
    plain = type("PlainConnection", (kind, HTTPConnection), {**guard, "secure": False})
    secure = type("SecureConnection", (kind, HTTPSConnection), {**guard, "secure": True})
    return {
        "http": type("PlainPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("SecurePool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


def _context(pace: Pace) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = type("PacedSecureSocket", (_PacedSecureSocket,), {"pace": pace})
    return context

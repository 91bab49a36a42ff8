"""Read an S3 object or a web address once, front to back, and continue where a body breaks off.

Web servers are not trusted: where a connection leads is checked first, and slow ones are given up. A name is resolved
once, all its addresses are checked, and the connection goes to one of those: a name that leads elsewhere a moment later
(DNS rebinding) is not asked again. The address that was really reached is checked as well.

No connection leads to an internal address unless the installation allows its network: the author of a run conf could
otherwise read, through a worker, what only the worker's own network can reach. Sources: the special-purpose address
registries of IANA (RFC 6890), RFC 6598 (carrier-grade NAT), RFC 6052 (NAT64), RFC 3056 (6to4).
"""

from __future__ import annotations

import hashlib
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Any, Protocol, Self, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

from include.datasets.errors import DatasetError
from include.datasets.layout import Fingerprint

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


SLOWEST = 16 << 10
"""Bytes per second."""
WINDOW = 60.0
"""Seconds of waiting over which they are measured."""
monotonic = time.monotonic
Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
METADATA = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",  # AWS
        "fd20:ce::/64",  # Google
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure, though it is one of the public internet
        "192.0.0.192/32",  # Oracle
    )
)
"""Where machines in a cloud find their credentials: read for nobody, whatever the installation allows."""
CARRIER_GRADE_NAT = ip_network("100.64.0.0/10")
NAT64 = ip_network("64:ff9b::/96")
ENDING_IN_IPV4 = tuple(ip_network(network) for network in ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48"))
"""Networks whose addresses a network may translate to the IPv4 address that they end in (RFC 4291, 2765, 8215)."""


def guarded_manager(networks: Sequence[Network], timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """A manager for one request, whose connections lead to the public internet or to one of the networks."""
    manager = urllib3.PoolManager(timeout=timeout, ssl_context=_paced_context(pace := Pace()))
    manager.pool_classes_by_scheme = _pools(_Guarded, pace, networks)
    return manager


def manager_behind_proxy(proxy: str, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """A manager for one request through a proxy, which alone knows where it leads."""
    manager = urllib3.ProxyManager(proxy, timeout=timeout, ssl_context=_paced_context(pace := Pace()))
    manager.pool_classes_by_scheme = _pools(_Paced, pace, ())
    return manager


class TooSlowError(ConnectionError):
    """A server that gives fewer bytes than are worth a worker."""


def too_slow(error: BaseException) -> TooSlowError | None:
    """The reason why a server was given up, if it lies behind an error of urllib3."""
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
            raise TooSlowError(
                f"{arrived} bytes in {seconds:.0f} s, and at least {SLOWEST >> 10} kB a second are required"
            )


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


def _paced_context(pace: Pace) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = type("PacedSecureSocket", (_PacedSecureSocket,), {"pace": pace})
    return context


def refuse_internal_address(host: str, ip: str, allowed: Sequence[Network] = ()) -> None:
    """Raise DatasetError for an IP address that is not one of the public internet, nor of an allowed network.

    `host` is what the address was written as. Raises ValueError where `ip` is not an IP address.
    """
    address = _ipv4_behind(ip_address(ip.partition("%")[0]))
    if _in(address, METADATA) or (_in(address, ENDING_IN_IPV4) and _in(_last_four_bytes(address), METADATA)):
        raise DatasetError(
            f"dataset.source leads to {host} ({ip}), an address from which machines read their credentials. It is "
            "never read; name the server that holds the data"
        )
    kind = _internal_kind(address)
    if kind and not _in(address, allowed):
        raise DatasetError(
            f"dataset.source leads to {host} ({ip}), {kind}, and this installation reads the public internet only: put "
            f'the file into S3, or allow its network in the setting source_networks, as in ["{_network_of(address)}"]'
        )


def _ipv4_behind(address: Address) -> Address:
    """The IPv4 address behind one of IPv6 that stands for it."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return _last_four_bytes(address)
    return address.ipv4_mapped or address.sixtofour or address


def _last_four_bytes(address: Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _internal_kind(address: Address) -> str:
    """What is internal about an address, in words; empty if it is public."""
    kinds = {
        "the machine itself": address.is_loopback or address.is_unspecified,
        "a link-local address": address.is_link_local,
        "an address of a carrier's own network": _in(address, [CARRIER_GRADE_NAT]),
        "a multicast address": address.is_multicast,
        "a private address": address.is_private or getattr(address, "is_site_local", False),
        "a reserved address": address.is_reserved or not address.is_global,
    }
    return next((kind for kind, applies in kinds.items() if applies), "")


def _in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _network_of(address: Address) -> str:
    if address.is_loopback:
        return "127.0.0.0/8" if address.version == 4 else "::1/128"
    return f"{address}/{address.max_prefixlen}"

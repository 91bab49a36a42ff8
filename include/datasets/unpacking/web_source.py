"""An ``http(s)://`` address whose content can be read from any byte on.

Only http and https are followed, also by redirects, and never to where machines in a cloud keep their credentials
(AWS: ``169.254.169.254``, ``fd00:ec2::254``; the other providers' addresses are link-local as well).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError

from include.datasets.errors import DatasetError
from include.datasets.unpacking.byte_stream import BrokenOffError, Fingerprint, changed
from include.run_conf.source_rules import NO_PASSWORDS

REDIRECTS = 8
CONNECT_SECONDS, READ_SECONDS = 20.0, 60.0
FORBIDDEN = tuple(
    ipaddress.ip_network(network) for network in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32")
)
REMEDIES = {
    401: "it asks for a sign-in: name an address that needs none, or a pre-signed one",
    403: "it may not be read: name an address that needs no sign-in, or a pre-signed one that is still valid",
    404: "there is nothing: correct the address",
    410: "it is gone for good: name another address",
}
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
RETRY_WITH_GET = (400, 401, 403, 404, 405, 501)
"""Answers to a HEAD that say nothing of a GET: pre-signed addresses are good for one method."""


class WebSource:
    """What lies at a web address; redirects are followed one by one and looked at first."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.shown = shown_address(address)
        self._final = address
        _checked(address, self.shown)

    def look(self) -> Fingerprint:
        """Ask with HEAD, or with a GET that is not read where the server refuses that."""
        answer = self._request("HEAD", self._address, {}, tolerated=RETRY_WITH_GET)
        status = answer.status
        answer.close()
        if status in RETRY_WITH_GET:
            answer = self._request("GET", self._address, {})
            answer.close()
        return _fingerprint(answer)

    def open(self, start: int, expected: Fingerprint | None) -> _WebBody:
        """GET the content from ``start`` on: where the first redirects led to, or else from the address anew."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and expected is not None and expected.validator:
            headers["If-Range"] = expected.validator
        answer = self._request("GET", self._final, headers, tolerated=RETRY_WITH_GET if start else ())
        if answer.status in RETRY_WITH_GET:
            answer.close()
            answer = self._request("GET", self._address, headers)
        if answer.status in (412, 416):
            answer.close()
            raise changed(self.shown, start)
        return _WebBody(answer, _start_of(answer) if start else 0, _fingerprint(answer))

    def _request(
        self, method: str, address: str, headers: Mapping[str, str], *, tolerated: tuple[int, ...] = ()
    ) -> urllib3.BaseHTTPResponse:
        for _ in range(REDIRECTS + 1):
            answer = self._send(method, address, headers)
            target = answer.headers.get("Location") if answer.status in (301, 302, 303, 307, 308) else None
            if target is None:
                self._check_status(answer, tolerated)
                if method == "GET":
                    self._final = address
                return answer
            answer.close()
            address = self._redirected(address, target)
        raise DatasetError(f"dataset.source = {self.shown}: over {REDIRECTS} redirects: name the address they lead to")

    def _send(self, method: str, address: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        url = _checked(address, self.shown)
        sent = {"Accept-Encoding": "identity", "User-Agent": "sagemaker-image-classification", **headers}
        bare = urlunsplit(url._replace(fragment=""))
        try:
            return _pool(url).urlopen(
                method, bare, headers=sent, redirect=False, preload_content=False, decode_content=False, retries=False
            )
        except LocationParseError as error:
            raise DatasetError(f"dataset.source = {self.shown} is no web address: correct it") from error
        except HTTPError as error:
            raise BrokenOffError(f"{url.hostname} does not answer ({_reason(error)})") from error

    def _check_status(self, answer: urllib3.BaseHTTPResponse, tolerated: tuple[int, ...]) -> None:
        status = answer.status
        if status in (200, 206, 412, 416) or status in tolerated:
            return
        answer.close()
        if status in TRANSIENT:
            seconds = answer.headers.get("Retry-After", "")
            raise BrokenOffError(f"the server answers {status}", wait=float(seconds) if seconds.isdecimal() else None)
        remedy = REMEDIES.get(status, "correct the address")
        raise DatasetError(f"dataset.source = {self.shown}: the server answers {status}: {remedy}")

    def _redirected(self, address: str, target: str) -> str:
        there = urljoin(address, target)
        before, after = urlsplit(address).scheme, urlsplit(there).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise DatasetError(
                f"dataset.source = {self.shown}: it redirects from {before} to {shown_address(there)}, which is not "
                f"followed: {'name that address itself' if after == 'http' else 'name an http(s) or s3 address'}"
            )
        return there


class _WebBody:
    def __init__(self, answer: urllib3.BaseHTTPResponse, start: int, fingerprint: Fingerprint) -> None:
        self._answer = answer
        self.start = start
        self.fingerprint = fingerprint

    def read(self, amount: int, /) -> bytes:
        try:
            return self._answer.read1(amount) if amount else b""
        except HTTPError as error:
            raise BrokenOffError(f"the body breaks off ({_reason(error)})") from error

    def close(self) -> None:
        self._answer.close()


class _GuardedConnection(HTTPConnection):
    """Looks at the address it is connected to before it sends a byte: names can be made to lead anywhere."""

    def _new_conn(self) -> socket.socket:
        return _guarded(super()._new_conn(), self.host)


class _GuardedSecureConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _guarded(super()._new_conn(), self.host)


class _GuardedPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _GuardedSecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _GuardedSecureConnection


def shown_address(address: str) -> str:
    """Leave out of an address what may be secret: user and password, and the query, in which signatures stand."""
    if not address.startswith(("http://", "https://")):
        return address
    url = urlsplit(address)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "..." if url.query else "", ""))


def refuse_metadata_address(host: str, ip: str) -> None:
    """Raise DatasetError for an IP address behind which a cloud keeps credentials."""
    address: Any = ipaddress.ip_address(ip.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if any(address.version == network.version and address in network for network in FORBIDDEN):
        raise DatasetError(
            f"dataset.source leads to {host} ({ip}), a link-local address under which machines find their credentials: "
            "it is never read; name the server that holds the data"
        )


def _guarded(connection: socket.socket, host: str) -> socket.socket:
    try:
        refuse_metadata_address(host, connection.getpeername()[0])
    except BaseException:
        connection.close()
        raise
    return connection


def _checked(address: str, shown: str) -> SplitResult:
    try:
        url = urlsplit(address)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise DatasetError(f"dataset.source = {shown} is no web address ({error}): correct it") from None
    if url.scheme not in ("http", "https") or not host:
        raise DatasetError(f"dataset.source = {shown}: write http://, https:// or s3://")
    if url.username is not None:
        raise DatasetError(f"dataset.source = {shown} {NO_PASSWORDS}")
    try:
        refuse_metadata_address(host, host)
    except DatasetError:
        raise
    except ValueError:
        pass  # a name: what it leads to is looked at when it is connected
    return url


def _pool(url: SplitResult) -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    host = url.hostname or ""
    proxy = None if proxy_bypass(host) else getproxies().get(url.scheme)
    pool: urllib3.PoolManager
    if proxy:
        _refuse_behind_proxy(host)
        pool = urllib3.ProxyManager(proxy, timeout=timeout)
    else:
        pool = urllib3.PoolManager(timeout=timeout)
        pool.pool_classes_by_scheme = {"http": _GuardedPool, "https": _GuardedSecurePool}
    return pool


def _refuse_behind_proxy(host: str) -> None:
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return  # the proxy alone knows the name
    for *_, address in found:
        refuse_metadata_address(host, str(address[0]))


def _fingerprint(answer: urllib3.BaseHTTPResponse) -> Fingerprint:
    headers = answer.headers
    length = (
        headers.get("Content-Range", "").rpartition("/")[2]
        if answer.status == 206
        else headers.get("Content-Length", "")
    )
    return Fingerprint(
        etag=headers.get("ETag", ""),
        last_modified=headers.get("Last-Modified", ""),
        size=int(length) if length.isdecimal() else None,
    )


def _start_of(answer: urllib3.BaseHTTPResponse) -> int:
    if answer.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if found is None:
        raise BrokenOffError("the server answers 206 without saying which bytes")
    return int(found[1])


def _reason(error: Exception) -> str:
    # The exceptions of urllib3 begin with the repr of the pool or connection.
    text = str(error)
    return text.split(": ", 1)[-1][:200] if text else type(error).__name__

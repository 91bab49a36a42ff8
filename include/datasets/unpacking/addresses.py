"""The addresses of `dataset.source` that are unpacked: an object in S3 or a web address, readable from any byte on.

Of the web only http and https are followed, also by redirects, and only to the public internet and the networks that
the installation allows.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from urllib3.exceptions import HTTPError, LocationParseError

from include.datasets.errors import STORAGE_CLASSES, DatasetError, archived, explained, reading_foreign_bytes
from include.datasets.layout import Fingerprint, UnpackedLayout, parse_s3_uri, whole_address
from include.datasets.unpacking.archive import ExpansionLimits
from include.datasets.unpacking.byte_stream import (
    BrokenOffError,
    Network,
    Remote,
    changed,
    guarded_manager,
    manager_behind_proxy,
    refuse_internal_address,
    too_slow,
)
from include.problems import masked, secrets_of, shown_address
from include.run_conf.dataset import NO_PASSWORDS, source_kind

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf
    from include.settings import Settings

BROKEN = (HTTPClientError, IncompleteReadError, ResponseStreamingError, FlexibleChecksumError)
REDIRECTS = 8
PATIENT = urllib3.Timeout(connect=20.0, read=60.0)
"""Seconds until a server counts as one that does not answer."""
REMEDIES = {
    401: "it requires a sign-in: name an address that needs none, or a pre-signed one",
    403: "it is forbidden: name an address that needs no sign-in, or a pre-signed one that is still valid",
    404: "there is nothing: correct the address",
    410: "it was removed: name another address",
}
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
RETRY_WITH_GET = (400, 401, 403, 404, 405, 501)
"""Answers to a HEAD that say nothing of a GET: pre-signed addresses are good for one method."""
MOST_DIGITS = 18
"""Of a number of bytes."""


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """What an installation allows: internal networks to read from, none by default, and the size of archives."""

    networks: tuple[Network, ...] = ()
    limits: ExpansionLimits = field(default_factory=ExpansionLimits)
    hide: Callable[[str], None] = lambda _: None
    """Receives every secret in an address before the address is used, for whoever keeps it out of logs."""

    @classmethod
    def of(cls, settings: Settings, hide: Callable[[str], None] = lambda _: None) -> SourcePolicy:
        """The policy of an installation."""
        return cls(
            networks=tuple(ip_network(network) for network in settings.source_networks),
            hide=hide,
            limits=ExpansionLimits(total=settings.archive_max_gb * 10**9, ratio=settings.archive_max_ratio),
        )


DEFAULT_POLICY = SourcePolicy()


def packed_addresses(conf: DatasetConf) -> list[str]:
    """The addresses of a run conf behind which images lie packed: archives and record files, no prefixes."""
    return [address for address in conf.source if source_kind(address) != "prefix"]


def open_remote(s3: S3Client, place: UnpackedLayout, policy: SourcePolicy = DEFAULT_POLICY) -> Remote:
    """Open the address that is unpacked to `place`. Raises DatasetError for one that may not be read."""
    if place.address.startswith("s3://"):
        return StoredSource(s3, place.address)
    address = whole_address(s3, place)
    for secret in secrets_of(address):
        policy.hide(secret)
    return WebSource(address, policy.networks)


class StoredSource:
    """An S3 object, read on condition of its ETag."""

    def __init__(self, s3: S3Client, address: str) -> None:
        self._s3 = s3
        self.shown = address
        self._bucket, self._key = parse_s3_uri(address)

    def look(self) -> Fingerprint:
        """Ask for the object's ETag and size. Raises DatasetError if it cannot be read."""
        try:
            answer = self._s3.head_object(Bucket=self._bucket, Key=self._key)
        except (ClientError, BotoCoreError) as error:
            raise self._explained(self._said(error), 0) from error
        storage_class = answer.get("ArchiveStatus") or answer.get("StorageClass") or ""
        if storage_class in STORAGE_CLASSES and 'ongoing-request="false"' not in answer.get("Restore", ""):
            raise DatasetError(f"dataset.source = {self.shown}: {archived(self.shown, storage_class)}")
        return Fingerprint(etag=answer["ETag"], size=answer["ContentLength"])

    def open(self, start: int, expected: Fingerprint | None) -> _ObjectBody:
        """GET the object from `start` on. Raises BrokenOffError and DatasetError."""
        conditions: dict[str, Any] = {"Range": f"bytes={start}-"} if start else {}
        if expected is not None:
            conditions["IfMatch"] = expected.etag
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key, **conditions)
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error, start) from error
        size = start + answer["ContentLength"]
        return _ObjectBody(answer["Body"], start, Fingerprint(etag=answer["ETag"], size=size))

    def _said(self, error: ClientError | BotoCoreError) -> ClientError | BotoCoreError:
        """The same refusal with its reason: an answer to a HEAD has no body, and so no code."""
        if not isinstance(error, ClientError):
            return error
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (400, 401, 403):
            return error
        try:
            self._s3.get_object(Bucket=self._bucket, Key=self._key, Range="bytes=0-0")["Body"].close()
        except (ClientError, BotoCoreError) as said:
            return said
        return error

    def _explained(self, error: ClientError | BotoCoreError, start: int) -> Exception:
        source = f"dataset.source = {self.shown}"
        if isinstance(error, BROKEN):
            return BrokenOffError(f"S3 does not answer ({error})")
        if not isinstance(error, ClientError):
            return DatasetError(f"{source}: {explained(error, self.shown) or error}")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in (412, 416):
            return changed(self.shown, start)
        if status in (429, 500, 502, 503, 504):
            return BrokenOffError(f"S3 answers {status}")
        if status == 404:
            return DatasetError(f"{source}: there is no such object: correct the address, or upload it")
        return DatasetError(f"{source}: {explained(error, self.shown) or f'S3 answers {error}'}")


class _ObjectBody:
    def __init__(self, body: StreamingBody, start: int, fingerprint: Fingerprint) -> None:
        self._body = body
        self.start = start
        self.fingerprint = fingerprint

    def read(self, amount: int, /) -> bytes:
        try:
            return self._body.read(amount)
        except BROKEN as error:
            raise BrokenOffError(f"the body ends early ({error})") from error

    def close(self) -> None:
        self._body.close()


class WebSource:
    """What lies at a web address; redirects are followed one by one and checked first.

    `networks` are the internal ones that may be read from.
    """

    def __init__(self, address: str, networks: Sequence[Network] = (), *, timeout: urllib3.Timeout = PATIENT) -> None:
        self._address = address
        self._timeout = timeout
        self.shown = shown_address(address)
        self._networks = networks
        self._final = address
        self._checked(address)

    def look(self) -> Fingerprint:
        """Ask with HEAD, or with a GET that is not read if the server refuses that."""
        answer = self._request("HEAD", self._address, {}, tolerated=RETRY_WITH_GET)
        status = answer.status
        answer.close()
        if status in RETRY_WITH_GET:
            answer = self._request("GET", self._address, {})
            answer.close()
        return _fingerprint(answer)

    def open(self, start: int, expected: Fingerprint | None) -> _WebBody:
        """GET the content from `start` on: where the first redirects led to, or else from the address again."""
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
        return _WebBody(answer, self.shown, _start_of(answer) if start else 0, _fingerprint(answer))

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
        raise DatasetError(f"dataset.source = {self.shown}: over {REDIRECTS} redirects: name the address at their end")

    def _send(self, method: str, address: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        url = self._checked(address)
        sent = {"Accept-Encoding": "identity", "User-Agent": "sagemaker-image-classification", **headers}
        bare = urlunsplit(url._replace(fragment=""))
        with _failures(self.shown, f"{url.hostname} does not answer"):
            return self._manager(url).urlopen(
                method, bare, headers=sent, redirect=False, preload_content=False, decode_content=False, retries=False
            )

    def _check_status(self, answer: urllib3.BaseHTTPResponse, tolerated: tuple[int, ...]) -> None:
        status = answer.status
        if status in (200, 206, 412, 416) or status in tolerated:
            return
        answer.close()
        if status in TRANSIENT:
            seconds = answer.headers.get("Retry-After", "")
            raise BrokenOffError(f"the server answers {status}", wait=float(seconds) if _is_number(seconds) else None)
        remedy = REMEDIES.get(status, "correct the address")
        raise DatasetError(f"dataset.source = {self.shown}: the server answers {status}: {remedy}")

    def _redirected(self, address: str, target: str) -> str:
        try:
            there = urljoin(address, target)
            before, after = urlsplit(address).scheme, urlsplit(there).scheme
        except ValueError:
            raise DatasetError(
                f"dataset.source = {self.shown}: it redirects to {masked(target)[:100]!r}, which is not a web address: "
                "name the right address"
            ) from None
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise DatasetError(
                f"dataset.source = {self.shown}: it redirects from {before} to {shown_address(there)}, which is not "
                f"followed: {'name that address itself' if after == 'http' else 'name an http(s) or s3 address'}"
            )
        return there

    def _checked(self, address: str) -> SplitResult:
        try:
            url = urlsplit(address)
            host, _ = url.hostname, url.port
        except ValueError as error:
            raise DatasetError(f"dataset.source = {self.shown} is not a web address ({error}): correct it") from None
        if url.scheme not in ("http", "https") or not host:
            raise DatasetError(f"dataset.source = {self.shown}: write http://, https:// or s3://")
        if url.username is not None:
            raise DatasetError(f"dataset.source = {self.shown} {NO_PASSWORDS}")
        try:
            refuse_internal_address(host, host, self._networks)
        except DatasetError:
            raise
        except ValueError:
            pass  # a name: what it leads to is checked when it is connected
        return url

    def _manager(self, url: SplitResult) -> urllib3.PoolManager:
        host = url.hostname or ""
        proxy = None if proxy_bypass(host) else getproxies().get(url.scheme)
        if proxy is None:
            return guarded_manager(self._networks, self._timeout)
        self._refuse_behind_proxy(host)
        return manager_behind_proxy(proxy, self._timeout)

    def _refuse_behind_proxy(self, host: str) -> None:
        try:
            found = socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            return  # the proxy alone knows the name
        for *_, address in found:
            refuse_internal_address(host, str(address[0]), self._networks)


class _WebBody:
    def __init__(self, answer: urllib3.BaseHTTPResponse, shown: str, start: int, fingerprint: Fingerprint) -> None:
        self._answer = answer
        self._shown = shown
        self.start = start
        self.fingerprint = fingerprint

    def read(self, amount: int, /) -> bytes:
        with _failures(self._shown, "the body ends early"):
            return self._answer.read1(amount) if amount else b""

    def close(self) -> None:
        self._answer.close()


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
        size=int(length) if _is_number(length) else None,
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS


def _start_of(answer: urllib3.BaseHTTPResponse) -> int:
    if answer.status != 206:
        return 0
    found = re.match(r"bytes ([0-9]{1,18})-", answer.headers.get("Content-Range", ""))
    if found is None:
        raise BrokenOffError("the server answers 206 without saying which bytes")
    return int(found[1])


@contextmanager
def _failures(shown: str, what: str) -> Iterator[None]:
    """Turn whatever is raised on the way to a server into a try that may be repeated, or an error of the address."""
    try:
        with reading_foreign_bytes(
            lambda reason: DatasetError(f"dataset.source = {shown} cannot be read ({masked(reason)}): correct it"),
            own=(DatasetError, HTTPError),
        ):
            yield
    except LocationParseError:  # its text is the address with its signature
        raise DatasetError(f"dataset.source = {shown} is not a web address: correct it") from None
    except HTTPError as error:
        raise BrokenOffError(f"{what} ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    # The exceptions of urllib3 begin with the repr of the pool or connection.
    slow = too_slow(error)
    text = masked(str(slow or error))
    return text.split(": ", 1)[-1][:200] if text else type(error).__name__

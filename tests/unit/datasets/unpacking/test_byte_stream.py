from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.layout import Fingerprint
from include.datasets.unpacking import byte_stream
from include.datasets.unpacking.addresses import StoredSource, WebSource
from include.datasets.unpacking.byte_stream import BrokenOffError, ByteStream, look_at, refuse_internal_address
from tests.support.dataset_bucket import Bucket
from tests.support.web_server import LOOPBACK, WebServer, serve

CONTENT = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve(CONTENT) as server:
        yield server


def read_all(stream: ByteStream, amount: int = 70_000) -> bytes:
    with stream:
        return b"".join(iter(lambda: stream.read(amount), b""))


def stream_of(web: WebServer, waits: list[float] | None = None) -> ByteStream:
    return ByteStream(WebSource(f"{web.url}/a.zip", LOOPBACK), sleep=(waits if waits is not None else []).append)


def test_a_web_address_is_read_in_one_request(web: WebServer) -> None:
    assert read_all(stream_of(web)) == CONTENT
    assert web.requests == ["GET"]


def test_a_body_that_breaks_off_is_continued_at_the_byte_it_had_reached(web: WebServer) -> None:
    web.breaks = [1_000_000, 500_000, 0]
    waits: list[float] = []

    assert read_all(stream_of(web, waits)) == CONTENT

    assert web.requests[:2] == ["GET", "GET bytes=1000000-"]
    assert len(web.requests) == 4
    assert len(waits) == 3


@pytest.mark.parametrize("etag", [True, False])
def test_a_server_without_ranges_is_read_again_from_its_first_byte(web: WebServer, etag: bool) -> None:
    web.ranges, web.etag, web.breaks = False, etag, [2_000_000, 2_500_000]

    assert read_all(stream_of(web)) == CONTENT


@pytest.mark.parametrize(("ranges", "etag"), [(True, True), (False, True), (False, False)])
def test_content_that_changes_in_the_middle_is_an_error(web: WebServer, ranges: bool, etag: bool) -> None:
    web.ranges, web.etag, web.breaks = ranges, etag, [1_000_000]
    stream = stream_of(web)
    stream.read(1)
    web.body = bytes(len(CONTENT))

    with pytest.raises(DatasetError, match=r"dataset\.source = http://127.*/a\.zip: its content changed while"):
        read_all(stream)


def test_an_address_that_never_gets_on_is_given_up(web: WebServer) -> None:
    web.breaks = [100_000] + [0] * 20
    waits: list[float] = []

    with pytest.raises(DatasetError, match=rf"byte 100000, {byte_stream.TRIES} attempts"):
        read_all(stream_of(web, waits))

    assert len(waits) == byte_stream.TRIES - 1
    assert waits[-1] > waits[0]


def test_one_that_gets_on_slowly_is_not(web: WebServer) -> None:
    web.body = CONTENT * 4
    web.breaks = [1_100_000] * 9

    assert read_all(stream_of(web)) == CONTENT * 4


def test_a_busy_server_is_asked_again(web: WebServer) -> None:
    web.statuses = [503, 429, 500]

    assert read_all(stream_of(web)) == CONTENT


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "sign-in"), (403, "pre-signed"), (404, "correct the address"), (410, "was removed")]
)
def test_what_cannot_be_read_says_what_to_do(web: WebServer, status: int, remedy: str) -> None:
    web.statuses = [status, status]

    with pytest.raises(DatasetError, match=rf"dataset\.source = http.*/a\.zip: the server answers {status}.*{remedy}"):
        stream_of(web).read(1)


def test_a_fingerprint_costs_one_request_and_no_content(web: WebServer) -> None:
    assert look_at(WebSource(f"{web.url}/a.zip", LOOPBACK)) == Fingerprint(etag=web.tag, size=len(CONTENT))
    assert web.requests == ["HEAD"]


def test_a_server_that_refuses_head_is_asked_with_get(web: WebServer) -> None:
    web.head = False

    assert look_at(WebSource(f"{web.url}/a.zip", LOOPBACK)).etag == web.tag


def test_an_object_is_read_on_behind_a_broken_body(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("a.tar", CONTENT)
    source = StoredSource(bucket.s3, f"s3://{bucket.name}/a.tar")
    starts: list[int] = []

    class BreaksOff:
        def __init__(self, body: Any) -> None:
            self._body, self.start, self.fingerprint, self._left = body, body.start, body.fingerprint, 15
            starts.append(self.start)

        def read(self, amount: int, /) -> bytes:
            self._left -= 1
            if self._left < 0:
                raise BrokenOffError("the connection was reset")
            return self._body.read(amount)  # type: ignore[no-any-return]

        def close(self) -> None:
            self._body.close()

    opened = StoredSource.open
    monkeypatch.setattr(StoredSource, "open", lambda self, start, expected: BreaksOff(opened(self, start, expected)))

    assert read_all(ByteStream(source, sleep=lambda _: None)) == CONTENT
    assert starts == [0, 1_050_000, 2_100_000]


def test_an_object_that_is_replaced_in_the_middle_is_an_error(bucket: Bucket) -> None:
    bucket.put("a.tar", CONTENT)
    stream = ByteStream(StoredSource(bucket.s3, f"s3://{bucket.name}/a.tar"), sleep=lambda _: None)
    stream.read(10)
    stream.close()
    bucket.put("a.tar", CONTENT + b"more")

    with pytest.raises(DatasetError, match="its content changed while it was read"):
        stream.read(10)


@pytest.mark.parametrize(("address", "what"), [("{}/none.zip", "no such object"), ("{}-not-there/a.zip", "no such")])
def test_an_object_that_is_not_there_is_an_error(bucket: Bucket, address: str, what: str) -> None:
    source = StoredSource(bucket.s3, f"s3://{address.format(bucket.name)}")

    with pytest.raises(DatasetError, match=what):
        look_at(source)
    with pytest.raises(DatasetError, match=what):
        ByteStream(source).read(1)


def test_an_empty_object_has_no_bytes(bucket: Bucket) -> None:
    bucket.put("empty.tar", b"")

    assert read_all(ByteStream(StoredSource(bucket.s3, f"s3://{bucket.name}/empty.tar"))) == b""


INTERNAL = {
    "127.0.0.1": "the machine itself",
    "127.255.255.254": "the machine itself",
    "0.0.0.0": "the machine itself",
    "::1": "the machine itself",
    "::": "the machine itself",
    "::ffff:127.0.0.1": "the machine itself",
    "64:ff9b::7f00:1": "the machine itself",
    "2002:7f00:1::": "the machine itself",
    "10.0.0.1": "a private address",
    "172.16.5.4": "a private address",
    "192.168.1.1": "a private address",
    "fc00::1": "a private address",
    "fec0::1": "a private address",
    "::ffff:10.0.0.1": "a private address",
    "198.18.0.1": "a private address",
    "100.64.0.1": "a carrier's own network",
    "100.127.255.255": "a carrier's own network",
    "224.0.0.1": "a multicast address",
    "ff02::1": "a multicast address",
    "240.0.0.1": "a private address",
    "255.255.255.255": "a private address",
    "::127.0.0.1": "a reserved address",
}
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "192.0.0.192",
    "fd20:ce::254",
    "64:ff9b:1::a9fe:a9fe",
    "::a9fe:a9fe",
]
PUBLIC = ["52.216.1.1", "8.8.8.8", "2600:1f18::1", "64:ff9b::808:808", "::ffff:52.216.1.1", "100.128.0.1", "172.32.0.1"]


@pytest.mark.parametrize("ip", INTERNAL)
def test_internal_addresses_are_refused_by_their_kind(ip: str) -> None:
    with pytest.raises(DatasetError, match=rf"dataset\.source leads to here \(.*\), .*{INTERNAL[ip]}, and this"):
        refuse_internal_address("here", ip)


@pytest.mark.parametrize("ip", METADATA)
def test_where_credentials_lie_is_read_for_nobody(ip: str) -> None:
    everything = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    with pytest.raises(DatasetError, match=r"from which machines read their credentials\. It is never read"):
        refuse_internal_address("here", ip, everything)


@pytest.mark.parametrize("ip", PUBLIC)
def test_public_addresses_are_read(ip: str) -> None:
    refuse_internal_address("there", ip)


def test_an_allowed_network_is_read_and_no_other() -> None:
    refuse_internal_address("here", "10.1.2.3", [ip_network("10.1.0.0/16")])
    refuse_internal_address("here", "::ffff:10.1.2.3", [ip_network("10.1.0.0/16")])
    with pytest.raises(DatasetError, match=r'in the setting source_networks, as in \["10\.2\.0\.1/32"\]'):
        refuse_internal_address("here", "10.2.0.1", [ip_network("10.1.0.0/16")])


@pytest.fixture
def archive_server() -> Iterator[WebServer]:
    with serve(b"an archive") as server:
        yield server


def read(address: str, networks: Any = ()) -> bytes:
    with ByteStream(WebSource(address, networks), sleep=lambda _: None) as stream:
        return stream.read(100)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "0", "[::ffff:127.0.0.1]", "[::1]"],
)
def test_the_machine_itself_is_refused_however_it_is_written_before_a_byte_is_sent(
    archive_server: WebServer, host: str
) -> None:
    port = archive_server.url.rpartition(":")[2]
    with pytest.raises(DatasetError, match=r"dataset\.source leads to .* the machine itself"):
        read(f"http://{host}:{port}/a.zip")
    assert archive_server.requests == []


def test_no_connection_is_even_opened_to_a_name_of_an_internal_address(
    archive_server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was connected"))
    with pytest.raises(DatasetError, match="leads to localhost"):
        read(archive_server.url.replace("127.0.0.1", "localhost") + "/a.zip")


@pytest.mark.parametrize("host", ["127.0.0.2", "127.2"])
def test_a_redirect_into_the_network_is_not_followed(archive_server: WebServer, host: str) -> None:
    archive_server.location = archive_server.url.replace("127.0.0.1", host) + "/a.zip"
    with pytest.raises(DatasetError, match=r"dataset\.source leads to .*127\.0\.0\.2"):
        read(f"{archive_server.url}/moved/a.zip", [ip_network("127.0.0.1/32")])
    assert archive_server.requests == ["GET"]


def test_a_name_that_leads_elsewhere_a_moment_later_is_not_asked_again(
    archive_server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer is a public address, the next ones are loopback."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, *arguments: Any, **named: Any) -> Any:
        asked.append(host)
        if host != "rebind.example":
            return real(host, *arguments, **named)
        ip = "192.0.43.8" if len(asked) == 1 else "127.0.0.1"
        return real(ip, *arguments, **named)

    reached: list[Any] = []

    def connect(_: socket.socket, place: Any) -> None:
        reached.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(DatasetError, match=r"rebind\.example does not answer|leads to rebind\.example"):
        look_at(WebSource("http://rebind.example/a.zip"), sleep=lambda _: None)
    assert {place[0] for place in reached} == {"192.0.43.8"}


def test_a_name_with_one_internal_address_among_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("52.216.1.1", "10.0.0.8")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was connected"))
    with pytest.raises(DatasetError, match=r"leads to mixed\.example \(10\.0\.0\.8\)"):
        read("http://mixed.example/a.zip")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_does_not_lead_into_the_network_either(
    archive_server: WebServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", archive_server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("10.0.0.8", 80))])
    with pytest.raises(DatasetError, match=r"leads to intranet\.example \(10\.0\.0\.8\), a private address"):
        read(f"{scheme}://intranet.example/a.zip")
    assert archive_server.requests == []


def test_what_the_installation_allows_is_read(archive_server: WebServer) -> None:
    port = archive_server.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "127.1"):
        assert read(f"http://{host}:{port}/a.zip", LOOPBACK) == b"an archive"

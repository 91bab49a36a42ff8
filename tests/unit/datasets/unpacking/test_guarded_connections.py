"""No web source leads into the network of the workers, unless the installation allows it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.unpacking.addresses import WebSource
from include.datasets.unpacking.byte_stream import ByteStream, look_at
from include.datasets.unpacking.guarded_connections import refuse_internal_address
from tests.support.web_server import LOOPBACK, WebServer, serve

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
def web() -> Iterator[WebServer]:
    with serve(b"an archive") as server:
        yield server


def read(address: str, networks: Any = ()) -> bytes:
    with ByteStream(WebSource(address, networks), sleep=lambda _: None) as stream:
        return stream.read(100)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "0", "[::ffff:127.0.0.1]", "[::1]"],
)
def test_the_machine_itself_is_refused_however_it_is_written_before_a_byte_is_sent(web: WebServer, host: str) -> None:
    port = web.url.rpartition(":")[2]
    with pytest.raises(DatasetError, match=r"dataset\.source leads to .* the machine itself"):
        read(f"http://{host}:{port}/a.zip")
    assert web.requests == []


def test_no_connection_is_even_opened_to_a_name_of_an_internal_address(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was connected"))
    with pytest.raises(DatasetError, match="leads to localhost"):
        read(web.url.replace("127.0.0.1", "localhost") + "/a.zip")


@pytest.mark.parametrize("host", ["127.0.0.2", "127.2"])
def test_a_redirect_into_the_network_is_not_followed(web: WebServer, host: str) -> None:
    web.location = web.url.replace("127.0.0.1", host) + "/a.zip"
    with pytest.raises(DatasetError, match=r"dataset\.source leads to .*127\.0\.0\.2"):
        read(f"{web.url}/moved/a.zip", [ip_network("127.0.0.1/32")])
    assert web.requests == ["GET"]


def test_a_name_that_leads_elsewhere_a_moment_later_is_not_asked_again(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
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
    web: WebServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", web.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("10.0.0.8", 80))])
    with pytest.raises(DatasetError, match=r"leads to intranet\.example \(10\.0\.0\.8\), a private address"):
        read(f"{scheme}://intranet.example/a.zip")
    assert web.requests == []


def test_what_the_installation_allows_is_read(web: WebServer) -> None:
    port = web.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "127.1"):
        assert read(f"http://{host}:{port}/a.zip", LOOPBACK) == b"an archive"

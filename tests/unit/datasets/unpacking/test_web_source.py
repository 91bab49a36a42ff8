from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.datasets.errors import DatasetError
from include.datasets.unpacking.byte_stream import ByteStream, look_at
from include.datasets.unpacking.web_source import WebSource, refuse_metadata_address, shown_address
from tests.unit.datasets.unpacking.web_server import WebServer, serve


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve(b"an archive") as server:
        yield server


def read(address: str) -> bytes:
    with ByteStream(WebSource(address), sleep=lambda _: None) as stream:
        return stream.read(100)


def test_redirects_are_followed(web: WebServer) -> None:
    web.location = "/elsewhere/a.zip"

    assert read(f"{web.url}/moved/a.zip") == b"an archive"


def test_a_body_that_breaks_off_is_continued_where_the_redirects_led_to(web: WebServer) -> None:
    web.location, web.breaks = "/elsewhere/a.zip", [4]
    with ByteStream(WebSource(f"{web.url}/moved/a.zip"), sleep=lambda _: None) as stream:
        assert stream.read(100) + stream.read(100) == b"an archive"
    assert web.requests == ["GET", "GET", "GET bytes=4-"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "s3://bucket/a.zip", "ftp://127.0.0.1/a.zip"])
def test_redirects_to_other_schemes_are_refused(web: WebServer, target: str) -> None:
    web.location = target

    with pytest.raises(DatasetError, match=r"dataset\.source = .*redirects from http to .*is not followed"):
        read(f"{web.url}/moved/a.zip")


def test_redirects_without_end_are_refused(web: WebServer) -> None:
    web.location = "/moved/a.zip"

    with pytest.raises(DatasetError, match="over 8 redirects"):
        read(f"{web.url}/moved/a.zip")


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/latest/a.zip", "http://[fd00:ec2::254]/a.zip", "http://[::ffff:169.254.169.254]/a.zip"],
)
def test_the_addresses_of_instance_metadata_are_never_asked(web: WebServer, address: str) -> None:
    with pytest.raises(DatasetError, match=r"link-local address under which machines find their credentials"):
        read(address)
    web.location = address
    with pytest.raises(DatasetError, match=r"link-local address"):
        read(f"{web.url}/moved/a.zip")


def test_a_name_that_leads_there_is_refused_before_a_byte_is_sent(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "include.datasets.unpacking.web_source.FORBIDDEN", (__import__("ipaddress").ip_network("127.0.0.0/8"),)
    )

    with pytest.raises(DatasetError, match="leads to localhost"):
        read(web.url.replace("127.0.0.1", "localhost") + "/a.zip")
    assert web.requests == []


def test_other_addresses_are_allowed() -> None:
    for ip in ("127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "52.216.1.1"):
        refuse_metadata_address(ip, ip)


@pytest.mark.parametrize("address", ["ftp://server/a.zip", "file:///a.zip", "http:///a.zip", "http://server:x/a.zip"])
def test_other_schemes_and_broken_addresses_are_refused(address: str) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.source = "):
        WebSource(address)


def test_signatures_are_never_shown(web: WebServer) -> None:
    address = f"{web.url}/a.zip?X-Amz-Signature=hidden"
    web.statuses = [403]

    with pytest.raises(DatasetError) as error:
        read(address)

    assert "hidden" not in str(error.value)
    assert shown_address(address) == f"{web.url}/a.zip?..."


def test_an_address_with_a_user_is_refused_and_its_password_never_shown(web: WebServer) -> None:
    with pytest.raises(DatasetError, match="put the file into S3") as error:
        WebSource(web.url.replace("//", "//anna:secret%21@") + "/a.zip")

    assert "secret" not in str(error.value)


def test_a_redirect_to_an_address_with_a_user_is_not_followed(web: WebServer) -> None:
    with serve(b"an archive") as other:
        web.location = other.url.replace("//", "//anna:secret@") + "/a.zip"

        with pytest.raises(DatasetError, match="names a user") as error:
            read(f"{web.url}/moved/a.zip")

    assert "secret" not in str(error.value)


def test_a_server_that_is_not_there_is_named(web: WebServer) -> None:
    with serve() as gone:
        url = gone.url
    with pytest.raises(DatasetError, match=r"127\.0\.0\.1 does not answer"):
        look_at(WebSource(f"{url}/a.zip"), sleep=lambda _: None)

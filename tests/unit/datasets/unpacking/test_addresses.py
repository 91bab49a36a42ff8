from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from include.datasets.errors import DatasetError
from include.datasets.unpacking import byte_stream
from include.datasets.unpacking.addresses import WebSource
from include.datasets.unpacking.byte_stream import ByteStream, look_at
from include.problems import shown_address
from tests.support.web_server import LOOPBACK, WebServer, dripping, self_signed, serve


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve(b"an archive") as server:
        yield server


def read(address: str) -> bytes:
    with ByteStream(WebSource(address, LOOPBACK), sleep=lambda _: None) as stream:
        return stream.read(100)


def test_redirects_are_followed(web: WebServer) -> None:
    web.location = "/elsewhere/a.zip"

    assert read(f"{web.url}/moved/a.zip") == b"an archive"


def test_a_body_that_breaks_off_is_continued_where_the_redirects_led_to(web: WebServer) -> None:
    web.location, web.breaks = "/elsewhere/a.zip", [4]
    with ByteStream(WebSource(f"{web.url}/moved/a.zip", LOOPBACK), sleep=lambda _: None) as stream:
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
    with pytest.raises(DatasetError, match=r"an address from which machines read their credentials"):
        read(address)
    web.location = address
    with pytest.raises(DatasetError, match=r"from which machines read"):
        read(f"{web.url}/moved/a.zip")


@pytest.mark.parametrize("address", ["ftp://server/a.zip", "file:///a.zip", "http:///a.zip", "http://server:x/a.zip"])
def test_other_schemes_and_broken_addresses_are_refused(address: str) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.source = "):
        WebSource(address, LOOPBACK)


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
        look_at(WebSource(f"{url}/a.zip", LOOPBACK), sleep=lambda _: None)


@pytest.mark.parametrize("address", ["http://[bad/x.zip", "http://a.b:99999999/x.zip", "https://[::1/x.zip?sig=hidden"])
def test_an_address_that_cannot_be_read_as_one_is_an_error_and_never_shown_whole(address: str) -> None:
    with pytest.raises(
        DatasetError, match=r"dataset\.source = https?://.* is not a web address \(.*\): correct it"
    ) as error:
        WebSource(address)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    "target", ["http://[bad/x.zip?sig=hidden", "//[bad/x.zip", "http://a..b/x.zip", "http://a:b/x.zip"]
)
def test_a_redirect_to_what_is_no_address_is_an_error(web: WebServer, target: str) -> None:
    web.location = target
    with pytest.raises(DatasetError, match=r"dataset\.source = ") as error:
        read(f"{web.url}/moved/a.zip")
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("host", ["x" * 70 + ".com", "a..b", "\ud800.com", "a\u2044b.com"])
def test_a_host_that_no_name_server_takes_is_an_error(host: str) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.source = |dataset\.source leads"):
        look_at(WebSource(f"http://{host}/a.zip"), sleep=lambda _: None)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "9" * 5000},
        {"Content-Length": "\u0663"},
        {"ETag": "\u00e9" * 5000},
        {"Content-Encoding": "gzip"},
        {"Transfer-Encoding": "chunked"},
        {"Last-Modified": "yesterday"},
    ],
)
def test_odd_headers_are_no_tracebacks(web: WebServer, headers: dict[str, str]) -> None:
    web.length, web.headers = False, headers
    try:
        assert read(f"{web.url}/a.zip") in (b"an archive", b"")
    except DatasetError as error:
        assert f"dataset.source = {web.url}/a.zip" in str(error)


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_wait_of_5000_digits_is_no_traceback(web: WebServer, status: int) -> None:
    web.statuses, web.headers = [status], {"Retry-After": "9" * 5000}
    assert read(f"{web.url}/a.zip") == b"an archive"


def test_a_range_of_5000_digits_is_no_traceback(web: WebServer) -> None:
    web.breaks, web.headers = [4], {}
    with ByteStream(WebSource(f"{web.url}/a.zip", LOOPBACK), sleep=lambda _: None) as stream:
        assert stream.read(4) == b"an a"
        web.headers = {"Content-Range": f"bytes {'9' * 5000}-9/10"}
        web.ranges = True
        with pytest.raises(DatasetError, match="206 without saying which bytes"):
            stream.read(100)


class Clock:
    """A clock on which each look takes so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


def test_a_server_that_drips_is_given_up(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    web.body = bytes(3_000_000)
    monkeypatch.setattr(byte_stream, "monotonic", Clock(seconds=400))
    with pytest.raises(
        DatasetError, match=r"bytes in 400 s, and at least 16 kB a second are required\) \(byte \d+, 6 attempts"
    ):
        read(f"{web.url}/a.zip")
    assert len(web.requests) >= 6


def test_a_server_that_drips_its_headers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_stream, "monotonic", Clock(seconds=61))
    with (
        dripping(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n" + b"X-B: 2\r\n" * 50) as url,
        pytest.raises(
            DatasetError, match=r"does not answer \(\d+ bytes in 61 s, and at least 16 kB a second are required"
        ),
    ):
        look_at(WebSource(f"{url}/a.zip", LOOPBACK), sleep=lambda _: None)


def test_a_server_over_tls_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serve(bytes(3_000_000), certificate=certificate) as secure:
        address = secure.url.replace("http://127.0.0.1", "https://localhost") + "/a.zip"
        with ByteStream(WebSource(address, LOOPBACK)) as stream:
            assert stream.read(10) == bytes(10)
        monkeypatch.setattr(byte_stream, "monotonic", Clock(seconds=400))
        with pytest.raises(DatasetError, match=r"bytes in 400 s, and at least 16 kB a second are required"):
            read(address)


def test_a_certificate_of_another_host_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "elsewhere.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serve(b"an archive", certificate=certificate) as secure:
        address = secure.url.replace("http://127.0.0.1", "https://localhost") + "/a.zip"
        with pytest.raises(DatasetError, match=r"(?i)certificate verify failed"):
            read(address)


def test_a_reader_that_takes_its_time_is_no_dripping_server(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = byte_stream.Pace()
    for _ in range(1000):
        pace.waited(0.05, 1000)
    with pytest.raises(byte_stream.TooSlowError):
        for _ in range(1000):
            pace.waited(0.3, 1)

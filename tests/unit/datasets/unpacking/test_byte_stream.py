from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.unpacked import Fingerprint
from include.datasets.unpacking import byte_stream
from include.datasets.unpacking.addresses import StoredSource, WebSource
from include.datasets.unpacking.byte_stream import BrokenOffError, ByteStream, look_at
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

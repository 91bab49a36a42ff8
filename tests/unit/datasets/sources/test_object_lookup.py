from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from include.datasets.sources.object_lookup import ListedObject, find_objects
from tests.unit.datasets.conftest import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEYS = [
    "a",
    "a/1.jpg",
    "a/10.jpg",
    "a/2 b.jpg",
    "a/sub/same",
    "b",
    "images/ü日本.png",
    "images//x",
    "images/%20+&",
    "z",
]


class ShortPages:
    """A client that answers two keys a page, and counts its pages."""

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3
        self.pages = 0

    def list_objects_v2(self, **request: Any) -> Any:
        self.pages += 1
        return self._s3.list_objects_v2(**request, MaxKeys=2)


@settings(max_examples=20)
@given(wanted=st.sets(st.sampled_from([*KEYS, "a/", "a/3.jpg", "images/", "nothing", "zz"])))
def test_the_keys_that_exist_are_found_whatever_lies_between_them(
    s3: S3Client, bucket: Bucket, wanted: set[str]
) -> None:
    for key in KEYS:
        bucket.put(key, key.encode())
    found = find_objects(ShortPages(s3), bucket.name, wanted)  # type: ignore[arg-type]
    assert {key: listed.size for key, listed in found.items()} == {
        key: len(key.encode()) for key in wanted if key in KEYS
    }


def test_neighbours_share_a_request_and_strangers_cost_none(s3: S3Client, bucket: Bucket) -> None:
    for number in range(40):
        bucket.put(f"photos/{number:03d}.jpg", b"%d" % number)
    bucket.put("zebra.jpg", b"z")
    client = ShortPages(s3)
    found = find_objects(client, bucket.name, ["photos/003.jpg", "zebra.jpg"])  # type: ignore[arg-type]
    etag = s3.head_object(Bucket=bucket.name, Key="zebra.jpg")["ETag"].strip('"')
    assert found["zebra.jpg"] == ListedObject("zebra.jpg", etag, 1)
    assert client.pages <= 4


def test_a_key_longer_than_any_object_has_is_never_asked_for(s3: S3Client, bucket: Bucket) -> None:
    bucket.put("a/1.jpg", b"x")
    client = ShortPages(s3)
    assert find_objects(client, bucket.name, ["x" * 1025, "ü" * 513]) == {}  # type: ignore[arg-type]
    assert client.pages == 0
    assert list(find_objects(client, bucket.name, ["a/1.jpg", "x" * 1025])) == ["a/1.jpg"]  # type: ignore[arg-type]

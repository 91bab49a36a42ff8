from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from include.datasets.sources.listing import Folder, ListedObject, LiveBucket, ObjectTable, find_objects
from tests.support.dataset_bucket import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


KEYS = [
    "odd/%20+&amp;<b>\"'.jpg",
    "odd/</Contents><Contents>",
    "odd/class/é日😀.jpg",
    "odd/class/sub/\t1.jpg",
    "odd/last",
]


def test_a_listing_gives_every_key_as_it_is(s3: S3Client, bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key, key.encode())
    listing = LiveBucket(s3, bucket.name, field="dataset.source", uri=f"s3://{bucket.name}/odd/")
    heads = {key: s3.head_object(Bucket=bucket.name, Key=key) for key in KEYS}
    listed = {found.key: (found.etag, found.size) for found in listing.objects("odd/")}
    assert listed == {key: (head["ETag"].strip('"'), head["ContentLength"]) for key, head in heads.items()}


def test_folders_and_the_objects_beside_them_stand_in_one_listing(s3: S3Client, bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key, b"x")
    folder = LiveBucket(s3, bucket.name, field="dataset.source", uri=f"s3://{bucket.name}/odd/").folder("odd/")
    assert folder.folders == ("<", "class")
    assert {found.key for found in folder.loose} == {"odd/%20+&amp;<b>\"'.jpg", "odd/last"}


def test_a_bucket_without_objects_lists_none(s3: S3Client, bucket: Bucket) -> None:
    listing = LiveBucket(s3, bucket.name, field="dataset.source", uri=f"s3://{bucket.name}/none/")
    assert list(listing.objects("none/")) == []


def test_a_listing_leaves_the_client_as_it_was(s3: S3Client, bucket: Bucket) -> None:
    bucket.put("odd/1.jpg", b"x")
    bucket.put("odd/sub/2.jpg", b"x")
    listing = LiveBucket(s3, bucket.name, field="dataset.source", uri=f"s3://{bucket.name}/odd/")

    def members() -> set[str]:
        (entry, *_) = s3.list_objects_v2(Bucket=bucket.name, Prefix="odd/")["Contents"]
        return {*entry}

    unfinished = listing.objects("odd/")
    next(unfinished)
    assert "LastModified" in members()
    for _ in (*unfinished, listing.folder("odd/"), listing.find(["odd/1.jpg"])):
        assert "LastModified" in members()


def test_a_listing_of_another_thread_at_the_same_time_has_all_members(s3: S3Client, bucket: Bucket) -> None:
    bucket.put("odd/1.jpg", b"x")
    others: list[Any] = []

    def list_elsewhere(**_: object) -> None:
        s3.meta.events.unregister("before-parse.s3.ListObjectsV2", list_elsewhere)
        thread = Thread(target=lambda: others.append(s3.list_objects_v2(Bucket=bucket.name)["Contents"][0]))
        thread.start()
        thread.join()

    s3.meta.events.register("before-parse.s3.ListObjectsV2", list_elsewhere)
    listing = LiveBucket(s3, bucket.name, field="dataset.source", uri=f"s3://{bucket.name}/odd/")
    assert [found.key for found in listing.objects("odd/")] == ["odd/1.jpg"]
    assert ["LastModified" in entry for entry in others] == [True]


SCATTERED = [
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
        self._s3, self.meta = s3, s3.meta
        self.pages = 0

    def list_objects_v2(self, **request: Any) -> Any:
        self.pages += 1
        return self._s3.list_objects_v2(**request, MaxKeys=2)


@settings(max_examples=20)
@given(wanted=st.sets(st.sampled_from([*SCATTERED, "a/", "a/3.jpg", "images/", "nothing", "zz"])))
def test_the_keys_that_exist_are_found_whatever_lies_between_them(
    s3: S3Client, bucket: Bucket, wanted: set[str]
) -> None:
    for key in SCATTERED:
        bucket.put(key, key.encode())
    found = find_objects(ShortPages(s3), bucket.name, wanted)  # type: ignore[arg-type]
    assert {key: listed.size for key, listed in found.items()} == {
        key: len(key.encode()) for key in wanted if key in SCATTERED
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


KEY_SETS = st.sets(st.text(alphabet="ab/ü\U0001f600\x7f", min_size=1, max_size=8), max_size=30)


@given(keys=KEY_SETS, filled=st.booleans(), prefix=st.sampled_from(["", "a/", "a/b/", "ü/", "\U0001f600/"]))
def test_a_prefix_gives_its_folders_and_its_objects_in_the_order_of_their_bytes(
    keys: set[str], filled: bool, prefix: str
) -> None:
    """Only empty objects whose keys end with a slash are folders."""
    size = 7 if filled else 0
    table = ObjectTable.of(ListedObject(key, f"e{key}", size) for key in sorted(keys))
    under = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    rest = {key: key[len(prefix) :] for key in under}
    objects = [key for key in under if filled or not key.endswith("/")]
    beside = [key for key in objects if "/" not in rest[key]]
    beside = beside if filled else [key for key in beside if rest[key]]
    nameless = [key for key in objects if rest[key].startswith("/")]

    assert [each.key for each in table.objects(prefix)] == objects
    assert table.folder(prefix) == Folder(
        tuple(sorted({part.partition("/")[0] for part in rest.values() if "/" in part} - {""})),
        tuple(ListedObject(key, f"e{key}", size) for key in sorted(beside + nameless, key=str.encode)),
    )

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.layout import UnpackedLayout, find_unpacked
from include.datasets.plan import find_new_images
from include.datasets.unpacking.unpack import addresses_to_unpack, unpack_address, unpack_sources
from include.run_conf import DatasetConf
from tests.support.archives import rec_of, tar_of, zip_of
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg
from tests.support.web_server import READS_LOOPBACK, WebServer, serve


def pictures(folders: dict[str, int], first: int = 0) -> dict[str, bytes]:
    return {
        f"{folder}/{number}.jpg": jpeg(seed=1000 * place + number)
        for place, (folder, count) in enumerate(sorted(folders.items()))
        for number in range(first, first + count)
    }


PETS = pictures({"pets/cat": 12, "pets/dog": 12})


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve() as server:
        yield server


def conf_of(*addresses: str, **changes: Any) -> DatasetConf:
    return DatasetConf.model_validate({"name": "pets", "source": list(addresses), **changes})


def place_of(bucket: Bucket, address: str) -> UnpackedLayout:
    return UnpackedLayout(bucket.name, "pets", address)


def build(bucket: Bucket, conf: DatasetConf, run_id: str = "manual__1", **options: Any) -> Any:
    unpack_sources(bucket.s3, conf, bucket.name, READS_LOOPBACK)
    return bucket.build(conf, run_id, **options)


def test_an_archive_becomes_a_dataset_and_is_stepped_into(bucket: Bucket) -> None:
    bucket.put("a.zip", zip_of({"outer/readme.txt": b"words", **{f"outer/{key}": body for key, body in PETS.items()}}))
    version = build(bucket, conf_of(f"s3://{bucket.name}/a.zip"))

    assert version.labels == ["cat", "dog"]
    assert version.counts.total == 24


def test_split_folders_in_an_archive_tell_the_splits(bucket: Bucket, web: WebServer) -> None:
    web.body = tar_of(
        pictures(
            {
                "dogImages/train/a": 6,
                "dogImages/train/b": 6,
                "dogImages/valid/a": 2,
                "dogImages/valid/b": 2,
                "dogImages/test/a": 3,
                "dogImages/test/b": 3,
            }
        )
    )
    version = build(bucket, conf_of(f"{web.url}/dogs.tar.gz", layout="split_folders"))

    assert version.counts.model_dump() == {"train": 12, "validation": 4, "test": 6}


def test_several_archives_are_one_dataset(bucket: Bucket, web: WebServer) -> None:
    bucket.put("a.tar", tar_of(PETS, mode="w:"))
    web.body = zip_of(pictures({"more/cow": 8, "more/dog": 4}, first=50))
    version = build(bucket, conf_of(f"s3://{bucket.name}/a.tar", f"{web.url}/b.zip"))

    assert version.labels == ["cat", "cow", "dog"]
    assert {label: counts.total for label, counts in version.class_counts.items()} == {"cat": 12, "cow": 8, "dog": 16}


def test_what_was_unpacked_is_not_read_again_until_it_changes(bucket: Bucket, web: WebServer) -> None:
    web.body = zip_of(PETS)
    conf = conf_of(f"{web.url}/a.zip")
    assert addresses_to_unpack(bucket.s3, conf, bucket.name, READS_LOOPBACK) == conf.source
    unpack_sources(bucket.s3, conf, bucket.name, READS_LOOPBACK)
    web.requests.clear()

    assert addresses_to_unpack(bucket.s3, conf, bucket.name, READS_LOOPBACK) == []
    assert web.requests == ["HEAD"]
    assert unpack_address(bucket.s3, conf, conf.source[0], bucket.name, READS_LOOPBACK).objects == 24
    assert web.requests == ["HEAD", "HEAD"]


def test_a_changed_archive_is_unpacked_over_the_old_one(bucket: Bucket) -> None:
    address = f"s3://{bucket.name}/a.zip"
    place = place_of(bucket, address)
    bucket.put("a.zip", zip_of(PETS))
    before = build(bucket, conf_of(address))
    kept = {key: body for key, body in PETS.items() if not key.endswith("/3.jpg")}
    modified = {
        entry: bucket.s3.head_object(Bucket=bucket.name, Key=entry)["LastModified"]
        for entry in bucket.listing(place.images)
    }
    bucket.put("a.zip", zip_of({**kept, **pictures({"pets/cat": 1, "pets/dog": 1}, first=80)}))

    assert addresses_to_unpack(bucket.s3, conf_of(address), bucket.name) == [address]
    unpack_sources(bucket.s3, conf_of(address), bucket.name)

    now = bucket.listing(place.images)
    assert len(now) == 24
    assert not [key for key in now if key.endswith("/3.jpg")]
    assert {
        key: bucket.s3.head_object(Bucket=bucket.name, Key=key)["LastModified"] for key in set(now) & set(modified)
    } == {key: modified[key] for key in set(now) & set(modified)}
    assert find_new_images(bucket.s3, conf_of(address), before).count == 2


def test_members_that_are_left_out_stand_in_a_document(bucket: Bucket) -> None:
    address = f"s3://{bucket.name}/a.zip"
    bucket.put("a.zip", zip_of({**PETS, "../evil.jpg": b"x", "__MACOSX/a": b"x", "pets/.DS_Store": b"x"}))

    unpacked = unpack_address(bucket.s3, conf_of(address), address, bucket.name)

    lines = [json.loads(line) for line in bucket.get(place_of(bucket, address).left_out).splitlines()]
    assert unpacked.left_out == {"unsafe_path": 1, "system_file": 2}
    assert {line["path"] for line in lines} == {"../evil.jpg", "__MACOSX/a", "pets/.DS_Store"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_damaged_archive_gives_nothing_and_a_retry_puts_what_is_missing(bucket: Bucket, name: str) -> None:
    address = f"s3://{bucket.name}/{name}"
    place = place_of(bucket, address)
    whole = zip_of(PETS) if name == "a.zip" else tar_of(PETS, mode="w:gz" if name.endswith("gz") else "w:")
    bucket.put(name, whole[: len(whole.rstrip(b"\0")) * 2 // 3])

    with pytest.raises(DatasetError, match=r"dataset\.source = s3://.*\(byte \d+, in or after 'pets/"):
        unpack_sources(bucket.s3, conf_of(address), bucket.name)
    with pytest.raises(DatasetError, match="is not unpacked yet"):
        bucket.build(conf_of(address))
    there = len(bucket.listing(place.images))
    bucket.put(name, whole)
    unpack_sources(bucket.s3, conf_of(address), bucket.name)

    assert 0 < there < 24
    assert len(bucket.listing(place.images)) == 24


def test_an_archive_of_nothing_but_rubbish_is_refused(bucket: Bucket) -> None:
    bucket.put("a.zip", zip_of({"__MACOSX/a": b"x"}))
    with pytest.raises(DatasetError, match=r"has no file that can be unpacked \(left out: {'system_file': 1}"):
        unpack_sources(bucket.s3, conf_of(f"s3://{bucket.name}/a.zip"), bucket.name)


def test_a_body_that_breaks_off_on_the_way_costs_nothing_but_time(bucket: Bucket, web: WebServer) -> None:
    web.body = zip_of(PETS)
    web.breaks = [5000, 5000]

    assert build(bucket, conf_of(f"{web.url}/a.zip")).counts.total == 24


def put_records(bucket: Bucket) -> list[str]:
    def records(first: int, count: int) -> bytes:
        return rec_of([((float(number % 3),), jpeg(seed=number)) for number in range(first, first + count)])

    bucket.put("pets-train.rec", records(0, 12))
    bucket.put("pets-val.rec", records(100, 6))
    return [f"s3://{bucket.name}/pets-train.rec", f"s3://{bucket.name}/pets-val.rec"]


def test_finished_records_become_a_version_with_their_splits(bucket: Bucket, rows: Any) -> None:
    conf = conf_of(*put_records(bucket), packing={"pass_through": True})
    version = build(bucket, conf)

    assert version.labels == ["0", "1", "2"]
    assert version.counts.validation == 6
    assert version.counts.train + version.counts.test == 12
    assert addresses_to_unpack(bucket.s3, conf, bucket.name, READS_LOOPBACK) == []


def test_names_replace_class_indices_without_reading_the_records_again(bucket: Bucket) -> None:
    addresses = put_records(bucket)
    unpack_sources(bucket.s3, conf_of(*addresses), bucket.name)
    named = conf_of(*addresses, labels=["cow", "ant", "bee"], packing={"pass_through": True})
    assert addresses_to_unpack(bucket.s3, named, bucket.name) == addresses

    version = build(bucket, named)

    assert version.labels == ["cow", "ant", "bee"]
    place = place_of(bucket, addresses[0])
    known = find_unpacked(bucket.s3, place)
    assert known is not None
    assert known.records is not None
    assert (known.records.names, known.records.classes) == (version.labels, version.labels)
    assert addresses_to_unpack(bucket.s3, named, bucket.name) == []


def test_ten_classes_and_more_keep_the_order_of_their_indices(bucket: Bucket) -> None:
    body = rec_of([((float(number % 12),), jpeg(seed=number)) for number in range(48)])
    bucket.put("many.rec", body)
    conf = conf_of(f"s3://{bucket.name}/many.rec", packing={"pass_through": True})
    version = build(bucket, conf)

    assert version.labels == [str(index) for index in range(12)]
    again = conf.model_copy(update={"labels": version.labels})
    assert addresses_to_unpack(bucket.s3, again, bucket.name) == []


def test_vectors_are_a_multi_label_version(bucket: Bucket) -> None:
    vectors = [(1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0)]
    bucket.put("m.rec", rec_of([(vectors[number % 3], jpeg(seed=number)) for number in range(30)]))
    address = f"s3://{bucket.name}/m.rec"
    version = build(bucket, conf_of(address, multi_label=True, packing={"pass_through": True}))

    assert (version.labels, version.multi_label, version.counts.total) == (["0", "1", "2"], True, 30)
    with pytest.raises(DatasetError, match=r"dataset\.multi_label is false, but .* has 3 labels a record"):
        bucket.plan(conf_of(address, packing={"pass_through": True}), "manual__2")


def test_files_of_different_label_widths_are_no_dataset(bucket: Bucket) -> None:
    bucket.put("a.rec", rec_of([((0.0,), jpeg())]))
    bucket.put("b.rec", rec_of([((0.0, 1.0), jpeg(seed=1))]))
    conf = conf_of(f"s3://{bucket.name}/a.rec", f"s3://{bucket.name}/b.rec", packing={"pass_through": True})

    with pytest.raises(
        DatasetError, match=r"b\.rec has 2 labels a record, s3://.*a\.rec 1: all files must have the same number"
    ):
        build(bucket, conf)


def test_damaged_records_publish_nothing(bucket: Bucket) -> None:
    body = rec_of([((float(number % 2),), jpeg(seed=number)) for number in range(6)])
    bucket.put("a.rec", body[:-100])
    conf = conf_of(f"s3://{bucket.name}/a.rec", packing={"pass_through": True})

    with pytest.raises(DatasetError, match=r"dataset\.source = s3://.*a\.rec: RecordIO is damaged at byte"):
        build(bucket, conf)
    assert bucket.listing() == []


def test_a_prefix_needs_no_unpacking(bucket: Bucket) -> None:
    assert addresses_to_unpack(bucket.s3, DatasetConf(name="pets"), bucket.name) == []

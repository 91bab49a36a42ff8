"""What pages show of the images of a dataset version."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from include.catalog import dataset_contents
from include.catalog.dataset_contents import read_accounts, read_sheet
from include.datasets.errors import DatasetError
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg


def test_images_that_are_not_packed_are_counted_with_their_reasons_bad_ones_first(bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10, "owl": 4})
    bucket.put("images/cat/broken.jpg", jpeg(16, 16)[:40])
    bucket.put("images/cat/note.jpg", b"a text")
    bucket.put("images/cat/same.jpg", bucket.get("images/cat/000.jpg"))
    version = bucket.build(bucket.conf(labels=["cat", "dog"], max_bad_fraction=0.5))

    accounts = {account.status: account for account in read_accounts(bucket.client, version)}

    assert list(accounts)[-1] == "duplicate"
    assert {status: account.images for status, account in accounts.items()} == {
        status: count for status, count in version.statuses.items() if status != "packed"
    }
    bad = [account for account in accounts.values() if account.is_bad]
    assert sum(account.images for account in bad) == 2
    assert all(account.reasons and account.first[0].reason for account in bad)
    assert {image.uri.rpartition("/")[2] for account in bad for image in account.first} == {"broken.jpg", "note.jpg"}
    assert accounts["not_asked"].images == 4
    assert accounts["duplicate"].first[0].uri.endswith("/cat/same.jpg")


def test_a_sheet_shows_a_class_or_a_split_alone(bucket: Bucket) -> None:
    bucket.put_images({"cat": 20, "dog": 20})
    version = bucket.build(bucket.conf(split={"train": 0.6, "validation": 0.2, "test": 0.2}))

    everything = read_sheet(bucket.client, version)
    dogs = read_sheet(bucket.client, version, label="dog")
    tested = read_sheet(bucket.client, version, label="dog", split="test")

    assert {image.labels for image in everything} == {"cat", "dog"}
    assert {image.labels for image in dogs} == {"dog"}
    assert {image.split for image in dogs} == {"train", "validation", "test"}
    assert len(tested) == version.class_counts["dog"].test
    assert {(image.labels, image.split) for image in tested} == {("dog", "test")}
    for image in tested:
        packed = cv2.imdecode(np.frombuffer(bucket.get(image.uri.partition(f"{bucket.name}/")[2]), np.uint8), 1)
        shown = base64.b64decode(image.picture.partition(",")[2])
        small = cv2.imdecode(np.frombuffer(shown, np.uint8), 1)
        assert small.shape == packed.shape
        assert np.abs(small.astype(int) - packed.astype(int)).mean() < 12


def test_a_class_that_the_version_does_not_have_is_named(bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    version = bucket.build(bucket.conf())

    with pytest.raises(DatasetError, match="no class 'owl'"):
        read_sheet(bucket.client, version, label="owl")
    with pytest.raises(DatasetError, match="no split 'exam'"):
        read_sheet(bucket.client, version, split="exam")


def test_the_manifest_of_a_huge_version_is_not_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    version = bucket.build(bucket.conf())
    monkeypatch.setattr(dataset_contents, "MOST_ROWS", 19)

    with pytest.raises(DatasetError, match="20 source images, and pages read up to 19"):
        read_accounts(bucket.client, version)

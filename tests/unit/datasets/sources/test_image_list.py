from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.sources.image_list import read_image_list
from include.datasets.version import DatasetVersion
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg
from tests.unit.datasets.sources.inventories import Report

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]


def conf(bucket: Bucket, lines: list[str], **changes: Any) -> DatasetConf:
    bucket.put("s3-paths.txt", "\n".join(lines).encode())
    return bucket.conf(image_list=f"s3://{bucket.name}/s3-paths.txt", **changes)


def table(bucket: Bucket, *lines: str, header: str = "path,label") -> dict[str, Any]:
    bucket.put("labels.csv", "\n".join([header, *lines]).encode())
    return {"label_tables": [f"s3://{bucket.name}/labels.csv"]}


def test_a_list_gives_addresses_and_keys_in_full_or_relative_to_the_source(s3: S3Client, bucket: Bucket) -> None:
    text = f"\ufeffs3://{bucket.name}/images/1.jpg\r\n\r\nimages/a b, c.jpg\r\n  2.jpg  \r\nsub/3.jpg\r\nimages/2.jpg"
    bucket.put("s3-paths.txt", text.encode())
    found = read_image_list(s3, f"s3://{bucket.name}/s3-paths.txt", f"s3://{bucket.name}/images/")
    assert found.bucket == bucket.name
    assert found.lines == {"images/1.jpg": 1, "images/a b, c.jpg": 3, "images/2.jpg": 4, "images/sub/3.jpg": 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no image: write one address or key per line"),
        ("s3://one/1.jpg\n2.jpg\n", r"names images in 2 buckets \(line 1: 's3://one/1\.jpg'; line 2: '2\.jpg'\): copy"),
        (
            "s3://one/\nhttps://acme.com/1.jpg\ncat/\n",
            r"3 lines name no image \(line 1: .*; line 3: 'cat/'\)",
        ),
        (b"caf\xe9.jpg", r"is not UTF-8 \(line 1\): save it as UTF-8"),
    ],
)
def test_a_wrong_list_says_where_and_what_to_do(s3: S3Client, bucket: Bucket, text: str | bytes, message: str) -> None:
    bucket.put("s3-paths.txt", text.encode() if isinstance(text, str) else text)
    with pytest.raises(DatasetError, match=message):
        read_image_list(s3, f"s3://{bucket.name}/s3-paths.txt", f"s3://{bucket.name}/images/")


def test_rows_find_their_images_by_address_key_or_file_name(bucket: Bucket, rows: Rows) -> None:
    places = ["2025/a/1.jpg", "2025/b/2.jpg", "2026/a/3.jpg", "2026/b/4.jpg", "2026/b/4 bis.jpg"]
    for number, place in enumerate(places):
        bucket.put(f"images/{place}", jpeg(seed=number))
    labels = table(
        bucket,
        f"s3://{bucket.name}/images/2025/a/1.jpg,cat",
        "2025/b/2.jpg,dog",
        "images/2026/a/3.jpg,cat",
        "4.jpg,dog",
        "b/4 bis.jpg,dog",
    )
    version = bucket.build(conf(bucket, places, **labels))
    found = rows(version)
    assert {key: row["labels"] for key, row in found.items()} == {
        "images/2025/a/1.jpg": ["cat"],
        "images/2025/b/2.jpg": ["dog"],
        "images/2026/a/3.jpg": ["cat"],
        "images/2026/b/4.jpg": ["dog"],
        "images/2026/b/4 bis.jpg": ["dog"],
    }
    assert {row["status"] for row in found.values()} == {"packed"}


def test_a_file_name_that_several_images_have_is_shown_with_its_line(bucket: Bucket) -> None:
    labels = table(bucket, "1.jpg,cat", "b/2.jpg,dog")
    with pytest.raises(DatasetError, match=r"1 rows name several .* \(line 2: '1\.jpg' is 'images/a/1\.jpg' or 'im"):
        bucket.plan(conf(bucket, ["a/1.jpg", "b/1.jpg", "b/2.jpg"], **labels))


def test_two_rows_of_one_image_are_shown(bucket: Bucket) -> None:
    labels = table(bucket, "a/1.jpg,cat", "1.jpg,dog")
    with pytest.raises(DatasetError, match=r"1 rows name an image a second time \(line 3: '1\.jpg', as line 2\)"):
        bucket.plan(conf(bucket, ["a/1.jpg", "b/2.jpg"], **labels))


def test_images_without_a_row_are_unlabelled_and_rows_without_an_image_missing(bucket: Bucket, rows: Rows) -> None:
    for number in range(10):
        bucket.put(f"images/{number}.jpg", jpeg(seed=number))
    labels = table(bucket, *(f"{number}.jpg,{'cat' if number % 2 else 'dog'}" for number in range(9)))
    listed = [f"{number}.jpg" for number in range(10) if number != 4] + ["gone.jpg"]

    version = bucket.build(conf(bucket, listed, **labels, max_bad_fraction=0.5))

    found = rows(version)
    assert (found["images/9.jpg"]["status"], version.statuses) == (
        "unlabelled",
        {"packed": 8, "unlabelled": 1, "missing": 2},
    )
    assert found["images/4.jpg"]["reason"] == "line 6 of the label table names it, but dataset.image_list does not"
    assert found["images/gone.jpg"]["reason"] == "dataset.image_list names it, but it is not there"
    strict = conf(bucket, [f"{number}.jpg" for number in range(10)], **labels, max_bad_fraction=0)
    assert bucket.build(strict, "manual__2").statuses == {"packed": 9, "unlabelled": 1}, "unlabelled is not bad"


def test_a_list_chooses_among_the_images_of_folders(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"cat": 4, "dog": 4, "owl": 4})
    listed = [f"{label}/{number:03d}.jpg" for label in ("cat", "dog") for number in range(3)]
    version = bucket.build(conf(bucket, [*listed, "dog/9.jpg"], max_bad_fraction=0.2))
    assert (version.labels, version.statuses) == (["cat", "dog"], {"packed": 6, "missing": 1})
    assert rows(version)["images/dog/9.jpg"]["labels"] == ["dog"]


def test_a_list_and_an_inventory_go_together(bucket: Bucket) -> None:
    bucket.put_images({"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    uri = Report(bucket).write()
    listed = [f"{split}/{label}/000.jpg" for split in ("train", "test") for label in ("cat", "dog")]
    listed += [f"train/{label}/001.jpg" for label in ("cat", "dog")]
    chosen = conf(bucket, [*listed, "valid/cat/1.jpg"], layout="split_folders", inventory=uri, max_bad_fraction=0.5)
    version = bucket.build(chosen)
    assert version.statuses == {"packed": 6, "missing": 1}
    assert version.counts.test == 2


def test_images_outside_the_source_have_no_folder_and_are_shown(bucket: Bucket) -> None:
    with pytest.raises(DatasetError, match=r"1 images are not under .* \(line 1: s3://else/cat/1\.jpg\)"):
        bucket.plan(conf(bucket, ["s3://else/cat/1.jpg"]))


def test_rows_with_addresses_in_another_bucket_than_the_list_are_refused(bucket: Bucket) -> None:
    labels = table(bucket, "s3://else/1.jpg,cat", "2.jpg,dog")
    with pytest.raises(
        DatasetError, match=r"rows name images in another bucket than .* \(line 2: 's3://else/1\.jpg'\)"
    ):
        bucket.plan(conf(bucket, ["1.jpg", "2.jpg"], **labels))

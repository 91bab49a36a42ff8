"""What an incremental training sees: every new image, and a share of those that the model has learned from."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator

import pytest

from include.datasets.errors import DatasetError
from include.datasets.manifest import read_manifest
from include.datasets.replay import Replay, choose_replayed
from include.datasets.version import DatasetVersion
from include.recordio.format import decode_image_record, read_records
from include.sagemaker.job_results import dataset_uri
from tests.support.dataset_bucket import Bucket, bucket, endpoint, s3

__all__ = ["bucket", "endpoint", "s3"]  # fixtures


def records_of(bucket: Bucket, key: str) -> Iterator[tuple[int, tuple[float, ...], bytes]]:
    for record in read_records(io.BytesIO(bucket.get(key))):
        image = decode_image_record(record.payload)
        yield image.id, image.labels, image.image


def seen(bucket: Bucket, replay: Replay) -> dict[int, tuple[float, ...]]:
    """The records of the channel, which is written: id -> labels."""
    replay.write(bucket.s3)
    (key,) = bucket.listing(replay.prefix)
    return {record_id: labels for record_id, labels, _ in records_of(bucket, key)}


def training_ids(bucket: Bucket, version: DatasetVersion) -> dict[int, str]:
    rows = read_manifest(bucket.s3, bucket.name, version.layout.manifest).to_pylist()
    return {row["record_id"]: row["labels"][0] for row in rows if row["status"] == "packed" and row["split"] == "train"}


@pytest.fixture
def versions(bucket: Bucket) -> tuple[DatasetVersion, DatasetVersion]:
    """A version with many cats and few dogs, and the one that grew from it."""
    bucket.put_images({"cat": 40, "dog": 10})
    conf = bucket.conf(packing={"resize": 12}, split={"train": 0.8, "validation": 0.1, "test": 0.1})
    first = bucket.build(conf)
    bucket.put_images({"cat": 8, "dog": 4}, first=60)
    return first, bucket.build(conf, "scheduled__2", parent=first.uri)


def test_the_new_images_and_the_same_share_of_each_class_are_seen(
    bucket: Bucket, versions: tuple[DatasetVersion, DatasetVersion]
) -> None:
    first, grown = versions
    before, after = training_ids(bucket, first), training_ids(bucket, grown)
    replay = choose_replayed(bucket.s3, grown, learned=first.uri, share=0.25)

    records = seen(bucket, replay)

    new = after.keys() - before.keys()
    old = Counter(after[record_id] for record_id in records.keys() - new)
    assert new <= records.keys() <= after.keys()
    assert old == {"cat": -(-Counter(before.values())["cat"] // 4), "dog": -(-Counter(before.values())["dog"] // 4)}
    assert (replay.new, replay.replayed, replay.old) == (len(new), old.total(), len(before))
    assert replay.as_version.num_training_samples == len(records)
    assert replay.as_version.counts.validation == grown.counts.validation
    labels = {record_id: (float(grown.labels.index(label)),) for record_id, label in after.items()}
    assert all(records[record_id] == labels[record_id] for record_id in records)
    whole = {record_id: image for record_id, _, image in records_of(bucket, grown.layout.records("train"))}
    assert all(whole[record_id] == image for record_id, _, image in records_of(bucket, f"{replay.prefix}train.rec")), (
        "the bytes are those of the version"
    )


def test_a_retry_sees_the_same_images_and_writes_them_once(
    bucket: Bucket, versions: tuple[DatasetVersion, DatasetVersion]
) -> None:
    first, grown = versions
    replay = choose_replayed(bucket.s3, grown, learned=first.uri, share=0.5)
    replay.write(bucket.s3)
    (key,) = bucket.listing(replay.prefix)
    written = bucket.s3.head_object(Bucket=bucket.name, Key=key)

    again = choose_replayed(bucket.s3, grown, learned=first.uri, share=0.5)
    again.write(bucket.s3)

    assert again == replay
    assert bucket.s3.head_object(Bucket=bucket.name, Key=key)["LastModified"] == written["LastModified"]
    assert bucket.stale_uploads() == 0


def test_a_larger_share_sees_all_of_a_smaller_one_and_none_is_the_new_images(
    bucket: Bucket, versions: tuple[DatasetVersion, DatasetVersion]
) -> None:
    first, grown = versions
    few, more, none = (choose_replayed(bucket.s3, grown, learned=first.uri, share=share) for share in (0.2, 0.6, 0.0))

    assert seen(bucket, few).keys() < seen(bucket, more).keys()
    assert seen(bucket, none).keys() == training_ids(bucket, grown).keys() - training_ids(bucket, first).keys()
    assert len({few.uri, more.uri, none.uri}) == 3


def test_an_image_with_another_label_than_the_model_learned_is_new(bucket: Bucket) -> None:
    keys = [f"{pet}/{number:03d}.jpg" for pet in ("cat", "dog") for number in range(12)]
    bucket.put_images({"cat": 12, "dog": 12})

    def table(*swapped: str) -> None:
        other = {"cat": "dog", "dog": "cat"}
        rows = [(key, key.partition("/")[0]) for key in keys]
        lines = [f"{key},{other[label] if key in swapped else label}" for key, label in rows]
        bucket.put("labels.csv", "\n".join(["path,label", *lines]).encode())

    table()
    conf = bucket.conf(
        label_tables=[f"s3://{bucket.name}/labels.csv"], split={"train": 0.6, "validation": 0.2, "test": 0.2}
    )
    first = bucket.build(conf)
    rows = read_manifest(bucket.s3, bucket.name, first.layout.manifest).to_pylist()
    trained = next(row["key"] for row in rows if row["split"] == "train").removeprefix("images/")
    table(trained)
    grown = bucket.build(conf, "scheduled__2", parent=first.uri)

    replay = choose_replayed(bucket.s3, grown, learned=first.uri, share=0)

    assert replay.new == 1
    assert len(seen(bucket, replay)) == 1


def test_an_image_with_several_labels_counts_for_the_rarest(bucket: Bucket) -> None:
    bucket.put_images({"cat": 30})
    lines = [f"cat/{number:03d}.jpg,1,{int(number % 6 == 0)}" for number in range(30)]
    bucket.put("labels.csv", "\n".join(["path,common,rare", *lines]).encode())
    conf = bucket.conf(label_tables=[f"s3://{bucket.name}/labels.csv"], multi_label=True)
    version = bucket.build(conf)

    replay = choose_replayed(bucket.s3, version, learned=version.uri, share=0.1)

    rare = version.labels.index("rare")
    assert sum(labels[rare] for labels in seen(bucket, replay).values()) >= 1


def test_what_cannot_be_replayed_is_refused_with_the_field(
    bucket: Bucket, versions: tuple[DatasetVersion, DatasetVersion]
) -> None:
    first, _ = versions
    gone = first.uri.replace(first.version, "20200101T000000Z-00000000")

    with pytest.raises(DatasetError, match=r"^incremental\.replay = 0: the model has learned from every"):
        choose_replayed(bucket.s3, first, learned=first.uri, share=0)
    with pytest.raises(DatasetError, match=r"^incremental\.replay = 0\.5: .*cannot be read.*: leave it at 1$"):
        choose_replayed(bucket.s3, first, learned=gone, share=0.5)
    with pytest.raises(DatasetError, match=r"^incremental\.replay = 0\.5: .*names no dataset version"):
        choose_replayed(bucket.s3, first, learned=None, share=0.5)


def test_a_job_that_saw_a_part_of_a_version_has_learned_from_that_version(
    bucket: Bucket, versions: tuple[DatasetVersion, DatasetVersion]
) -> None:
    first, grown = versions
    replay = choose_replayed(bucket.s3, grown, learned=first.uri, share=0.25)

    def job(uri: str) -> dict[str, object]:
        source = {"S3DataSource": {"S3Uri": uri}}
        return {"InputDataConfig": [{"ChannelName": "train", "DataSource": source}]}

    assert dataset_uri(job(replay.uri)) == dataset_uri(job(grown.channel_uri("train"))) == grown.uri
    assert dataset_uri(job("s3://bucket/train/elsewhere/")) is None

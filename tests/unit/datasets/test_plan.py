from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.manifest import read_manifest
from include.datasets.plan import find_new_images
from include.datasets.source_image import system_name
from include.datasets.version import VersionPlan
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def planned(s3: S3Client, plan: VersionPlan) -> dict[str, str]:
    rows = {}
    for shard in plan.shards:
        for row in read_manifest(s3, plan.bucket, plan.layout.planned_shard(shard.index)).to_pylist():
            assert row["split"] == shard.split
            rows[row["key"]] = row["split"]
    return rows


def test_a_plan_is_small_and_survives_the_way_between_tasks(bucket: Bucket) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    plan = bucket.plan(bucket.conf(packing={"shard_images": 4}))
    assert VersionPlan.model_validate(plan.model_dump(mode="json")) == plan
    assert len(plan.model_dump_json()) < 2000
    assert sum(shard.images for shard in plan.shards) == plan.new_images == 12
    assert all(0 < shard.images <= 4 for shard in plan.shards)


def test_a_retried_plan_is_the_same_plan(bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 4})
    conf = bucket.conf()
    assert bucket.plan(conf) == bucket.plan(conf)
    assert bucket.plan(conf, "manual__2").version != bucket.plan(conf).version


def test_every_class_is_in_every_split_and_every_id_is_used_once(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 3})
    plan = bucket.plan(bucket.conf())
    splits = Counter((key.split("/")[1], split) for key, split in planned(s3, plan).items())
    assert {(label, split) for label in ("cat", "dog") for split in ("train", "validation", "test")} == set(splits)
    ids = [
        record_id
        for shard in plan.shards
        for record_id in read_manifest(s3, plan.bucket, plan.layout.planned_shard(shard.index))["record_id"].to_pylist()
    ]
    assert ids == list(range(plan.next_record_id))


def test_only_the_asked_classes_are_planned(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"ape": 3, "cat": 3, "dog": 3})
    plan = bucket.plan(bucket.conf(labels=["dog", "ape"]))
    assert plan.labels == ["dog", "ape"]
    assert {key.split("/")[1] for key in planned(s3, plan)} == {"dog", "ape"}


def test_the_source_may_lie_in_another_bucket_and_at_its_root(s3: S3Client, bucket: Bucket) -> None:
    s3.create_bucket(Bucket=f"{bucket.name}-photos")
    photos = Bucket(s3, f"{bucket.name}-photos")
    for number in range(6):
        photos.put(f"{'cat' if number % 2 else 'dog'}/{number}.jpg", jpeg(seed=number))
    plan = bucket.plan(bucket.conf(source=[f"s3://{photos.name}/"]))
    assert (plan.labels, plan.new_images, plan.bucket) == (["cat", "dog"], 6, bucket.name)


@settings(max_examples=8)
@given(
    names=st.sets(
        st.text(
            st.characters(codec="utf-8", exclude_characters="/", exclude_categories=("Cs", "Cc")),
            min_size=1,
            max_size=12,
        ).filter(lambda name: system_name(name) is None)
        | st.sampled_from(
            ["a b.jpg", "a\tb\nc", "..", ".", "%20", "a+b&c=d?e#f", "ü日本.png", "../x", "x//y", "same", "sub/same"]
        ),
        min_size=2,
        max_size=6,
    )
)
def test_no_key_is_lost_or_changed_in_listing(s3: S3Client, bucket: Bucket, names: set[str]) -> None:
    run = abs(hash(frozenset(names)))
    keys = {f"images-{run}/{label}/{name}" for name in names for label in ("cat", "dog")}
    for number, key in enumerate(sorted(keys)):
        bucket.put(key, b"%d" % number)
    plan = bucket.plan(bucket.conf(source=[f"s3://{bucket.name}/images-{run}/"]), run_id=str(run))
    assert set(planned(s3, plan)) == keys


def test_several_labels_per_image_need_another_source(bucket: Bucket) -> None:
    bucket.put_images({"cat": 2, "dog": 2})
    with pytest.raises(
        DatasetError,
        match=r"multi_label is true, but folders .* name dataset\.label_tables \(CSV, Parquet, JSON Lines or \.lst\)",
    ):
        bucket.plan(bucket.conf(multi_label=True))


def test_a_source_without_images_is_an_error_with_its_address(bucket: Bucket) -> None:
    with pytest.raises(DatasetError, match=f"s3://{bucket.name}/images/ has no class folders"):
        bucket.plan(bucket.conf())


def test_a_class_without_an_image_to_pack_is_named(bucket: Bucket) -> None:
    bucket.put_images({"cat": 3, "dog": 3})
    bucket.put("images/ape/empty.jpg", b"")
    with pytest.raises(DatasetError, match=r"1 classes of .* have no image to pack: ape \(left out: \{'empty': 1\}\)"):
        bucket.plan(bucket.conf())


def test_a_class_without_an_image_among_numbers_is_left_out_by_names_for_all(bucket: Bucket) -> None:
    bucket.put_images({"x": 6})
    bucket.put("all.lst", b"".join(b"%d\t%d\tx/%03d.jpg\n" % (number, 2 * (number % 2), number) for number in range(6)))
    shared = {"label_tables": [f"s3://{bucket.name}/all.lst"], "labels": ["sun", "sea", "snow"]}
    with pytest.raises(DatasetError, match=r"does not have: 'sea': name all classes in a dataset\.labels_file"):
        bucket.plan(bucket.conf(**shared))
    bucket.put("names.txt", b"sun\nsea\nsnow\n")
    names = {"labels_file": f"s3://{bucket.name}/names.txt"}
    assert bucket.plan(bucket.conf(**shared | names | {"labels": ["snow", "sun"]})).labels == ["snow", "sun"]
    with pytest.raises(DatasetError, match=r"does not have: 'sea': name only classes with"):
        bucket.plan(bucket.conf(**shared | names))


def test_folders_that_are_rather_splits_are_refused_unless_they_are_named(bucket: Bucket) -> None:
    bucket.put_images({"train": 3, "valid": 3, "plane": 3})
    with pytest.raises(DatasetError, match=r"for splits .train, valid.: set it to split_folders, or name"):
        bucket.plan(bucket.conf())
    assert bucket.plan(bucket.conf(labels=["train", "valid"])).labels == ["train", "valid"]
    bucket.s3.delete_objects(
        Bucket=bucket.name, Delete={"Objects": [{"Key": f"images/valid/{number:03d}.jpg"} for number in range(3)]}
    )
    assert bucket.plan(bucket.conf(), "manual__2").labels == ["plane", "train"]


def test_a_parent_with_other_packing_is_refused_by_the_field(bucket: Bucket) -> None:
    bucket.put_images({"cat": 3, "dog": 3})
    parent = bucket.build(bucket.conf())
    with pytest.raises(DatasetError, match=r"dataset\.packing differs from parent version .* \(resize 0 -> 8\)"):
        bucket.plan(bucket.conf(packing={"resize": 8}), "manual__2", parent=parent.uri)


def test_an_unknown_parent_is_refused_by_its_address(bucket: Bucket) -> None:
    with pytest.raises(DatasetError, match=r"there is no dataset version at s3://.*/datasets/pets/nowhere/"):
        bucket.plan(bucket.conf(), parent="nowhere")


def test_a_bucket_that_does_not_exist_is_named(bucket: Bucket) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.source s3://no-such-photos/: there is no bucket no-such-photos"):
        bucket.plan(bucket.conf(source=["s3://no-such-photos/"]))


def test_nothing_is_new_right_after_a_build(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    bucket.put("images/dog/broken.jpg", b"no image")
    bucket.put("images/dog/again.jpg", bucket.get("images/dog/000.jpg"))
    conf = bucket.conf(max_bad_fraction=0.5)
    assert find_new_images(s3, conf, bucket.build(conf)).count == 0


def test_added_and_replaced_images_are_new(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    version = bucket.build(bucket.conf())
    bucket.put("images/cat/added.jpg", jpeg(seed=70))
    bucket.put("images/cat/000.jpg", jpeg(seed=71))
    s3.delete_object(Bucket=bucket.name, Key="images/dog/000.jpg")
    new = find_new_images(s3, bucket.conf(), version)
    assert (new.count, new.bytes, new.new_labels) == (2, len(jpeg(seed=70)) + len(jpeg(seed=71)), ())


def test_a_folder_without_a_class_is_named_unless_labels_were_asked_for(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    version = bucket.build(bucket.conf())
    bucket.put_images({"ape": 2})
    assert find_new_images(s3, bucket.conf(), version).new_labels == ("ape",)
    new = find_new_images(s3, bucket.conf(labels=["cat", "dog"]), version)
    assert (new.count, new.new_labels) == (0, ())


def test_what_no_version_could_gain_from_is_not_new(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    version = bucket.build(bucket.conf())
    bucket.put("images/cat/again.jpg", bucket.get("images/cat/000.jpg"))
    bucket.put("images/dog/conflict.jpg", bucket.get("images/cat/001.jpg"))
    bucket.put("images/dog/empty.jpg", b"")
    assert find_new_images(s3, bucket.conf(), version).count == 0

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.unpacking.unpack import unpack_sources
from include.datasets.version import DatasetVersion
from include.deployment.traffic import Scaling
from include.promotion.champion import Champion, LiveEndpoint, UnknownChampionError
from include.retraining import (
    FullTraining,
    Line,
    Retraining,
    check_retraining_conf,
    dataset_conf,
    find_retrainings,
    retraining_conf,
    why_not_trained,
)
from include.run_conf import DatasetConf, RunConf, RunConfError
from include.run_conf.dataset import PackingConf
from tests.support.archives import zip_of
from tests.support.dataset_bucket import Bucket, bucket, endpoint, s3
from tests.support.documents import dataset_version
from tests.support.lines import CHAMPION, grown_one, line
from tests.support.pictures import jpeg
from tests.unit.datasets.sources.inventories import Report

__all__ = ["bucket", "endpoint", "s3"]  # fixtures


def live(**changes: Any) -> LiveEndpoint:
    """An endpoint that serves the champion on a machine of its own."""
    fields = {"name": "pets-live", "config": "config-1", "instance_type": "ml.c5.xlarge", "instance_count": 2}
    return LiveEndpoint(**{**fields, "version": CHAMPION, "keep": True, **changes})


SERVERLESS = {"instance_type": None, "instance_count": None, "memory_mb": 2048, "concurrency": 7}


def test_a_serverless_endpoint_stays_one_whatever_the_champions_run_had() -> None:
    kept = RunConf.from_conf({"endpoint": {"instance_count": 3, "rollout": {"kind": "canary"}}})
    champion = Champion(CHAMPION, live(**SERVERLESS), "which serves")
    endpoint = retraining_conf(champion, kept, {}, RunConf.read_changes({})[0]).endpoint
    assert (endpoint.serverless.memory_mb, endpoint.serverless.concurrency) == (2048, 7)
    assert (endpoint.instance_count, endpoint.rollout.kind) == (1, "all_at_once")


def test_an_endpoint_with_machines_and_capture_stays_one_whatever_the_champions_run_had() -> None:
    kept = RunConf.from_conf({"endpoint.serverless.memory_mb": 1024})
    champion = Champion(CHAMPION, live(capture_percent=20), "which serves")
    endpoint = retraining_conf(champion, kept, {}, RunConf.read_changes({})[0]).endpoint
    assert not endpoint.serverless.enabled
    assert (endpoint.instance_type, endpoint.instance_count, endpoint.capture_percent) == ("ml.c5.xlarge", 2, 20)


def test_an_endpoint_that_is_scaled_stays_so_whatever_the_champions_run_had() -> None:
    champion = Champion(CHAMPION, live(scaling=Scaling(1, 4, 600)), "which serves")
    endpoint = retraining_conf(champion, RunConf(), {}, RunConf.read_changes({})[0]).endpoint
    assert endpoint.autoscaling.model_dump() == {"minimum": 1, "maximum": 4, "target": 600}
    fixed = Champion(CHAMPION, live(), "which serves")
    kept = RunConf.from_conf({"endpoint.autoscaling": {"maximum": 4, "target": 600}})
    assert retraining_conf(fixed, kept, {}, RunConf.read_changes({})[0]).endpoint.autoscaling.maximum is None


@pytest.fixture
def pets(bucket: Bucket) -> DatasetVersion:
    bucket.put_images({"cat": 12, "dog": 12})
    return bucket.build(bucket.conf(source=[f"s3://{bucket.name}/images/"], packing={"resize": 12, "shard_images": 9}))


def test_nothing_is_to_be_done_where_no_dataset_has_new_images(bucket: Bucket, pets: DatasetVersion) -> None:
    assert grown_one(bucket.s3, line(), data_bucket=bucket.name) is None


def test_nothing_is_to_be_done_where_there_is_no_dataset(bucket: Bucket) -> None:
    assert grown_one(bucket.s3, line(), data_bucket=bucket.name) is None


def test_a_grown_dataset_is_built_again_as_it_was_built_before(bucket: Bucket, pets: DatasetVersion) -> None:
    bucket.put_images({"cat": 2, "dog": 1}, first=12)
    asked = RunConf.from_conf({"promotion.minimum_accuracy": 0.9})

    found = grown_one(bucket.s3, line(asked), data_bucket=bucket.name)

    assert found is not None
    assert (found.new_images, found.parent) == (3, pets.uri)
    assert found.conf.promotion.minimum_accuracy == 0.9
    grown = bucket.build(found.conf.dataset, "scheduled__2", parent=found.parent)
    assert grown.parent == pets.uri
    assert (grown.labels, grown.packing, grown.split) == (pets.labels, pets.packing, pets.split)


@pytest.mark.parametrize(
    "packing",
    [
        {"color": 0},
        {"color": -1, "encoding": "png", "quality": 9},
        {"resize": 40, "center_crop": True, "quality": 80, "minimum_side": 8, "fast_decode": True},
        {"pass_through": True},
    ],
)
def test_every_option_of_packing_is_that_of_the_newest_version(packing: dict[str, Any]) -> None:
    asked = DatasetConf.model_validate({"name": "pets", "packing": packing})
    version = dataset_version(packing=asked.image_options.as_dict())
    grown = dataset_conf(DatasetConf(name="other"), version)
    assert grown.image_options == version.packing
    shown = PackingConf().model_dump() | packing
    assert grown.packing.model_dump() == shown, "and no field of the conf is left to its default"


def test_every_dataset_that_has_grown_is_retrained(bucket: Bucket, pets: DatasetVersion) -> None:
    bucket.put_images({"cat": 2, "dog": 2}, first=12)
    birds = bucket.build(bucket.conf(name="birds", source=[f"s3://{bucket.name}/images/"]), "manual__birds")
    bucket.put_images({"cat": 1}, first=14)

    found = find_retrainings(bucket.s3, line(), data_bucket=bucket.name)

    retrainings = [each for each in found if isinstance(each, Retraining)]
    assert [(each.conf.dataset.name, each.parent, each.new_images) for each in retrainings] == [
        ("birds", birds.uri, 1),
        ("pets", pets.uri, 5),
    ]


def test_the_run_of_a_retraining_is_called_after_what_it_takes_in(bucket: Bucket, pets: DatasetVersion) -> None:
    def run_id() -> str:
        (found,) = find_retrainings(bucket.s3, line(), data_bucket=bucket.name)
        return found.run_id

    bucket.put_images({"cat": 2}, first=12)
    first, again = run_id(), run_id()
    bucket.put_images({"cat": 1}, first=14)
    other = run_id()

    assert first == again
    assert first.startswith(f"retrain__pets__{pets.version}__")
    assert other.startswith(f"retrain__pets__{pets.version}__")
    assert other != first


def test_new_images_wait_until_they_are_as_many_as_a_retraining_is_worth(
    bucket: Bucket, pets: DatasetVersion, caplog: pytest.LogCaptureFixture
) -> None:
    lines = line(RunConf.from_conf({"retraining.min_new_images": 3}))
    bucket.put_images({"cat": 2}, first=12)

    with caplog.at_level(logging.INFO):
        assert grown_one(bucket.s3, lines, data_bucket=bucket.name) is None
    bucket.put_images({"cat": 1}, first=14)
    found = grown_one(bucket.s3, lines, data_bucket=bucket.name)

    assert "pets: 2 new images wait; a retraining starts with 3 (retraining.min_new_images)." in caplog.messages
    assert found is not None
    assert found.new_images == 3


def test_a_new_class_folder_is_named_and_left_to_a_person(
    bucket: Bucket, pets: DatasetVersion, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put_images({"owl": 3})

    assert grown_one(bucket.s3, line(), data_bucket=bucket.name) is None
    assert "pets has new classes: owl. They are left out" in caplog.text
    (proposed,) = re.findall(r"start image_classification with (.*)", caplog.text)
    conf = RunConf.from_conf(json.loads(proposed))
    assert (conf.dataset.name, conf.dataset.labels) == ("pets", ["cat", "dog", "owl"])
    assert (conf.dataset.source, conf.dataset.packing.resize) == ([f"s3://{bucket.name}/images/"], 12)
    assert conf.promotion.allow_label_change


def test_new_classes_are_trained_once_if_the_run_conf_asks_for_it(
    bucket: Bucket, pets: DatasetVersion, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = RunConf.from_conf({"retraining.new_classes": "train", "resources.instance_type": "ml.g5.xlarge"})
    bucket.put_images({"bee": 0, "cat": 2, "owl": 3}, first=12)

    def find(*started: str) -> list[Retraining | FullTraining]:
        return find_retrainings(
            bucket.s3, line(chosen), data_bucket=bucket.name, was_started=lambda full: full.run_id in started
        )

    with caplog.at_level(logging.INFO):
        (full,) = find()
        (retraining,) = find(full.run_id)
    bucket.put_images({"yak": 1}, first=40)
    (of_more,) = find(full.run_id)

    assert isinstance(full, FullTraining)
    assert full.new_labels == ("owl",)
    by_hand, by_itself = RunConf.from_conf(full.asked), RunConf.from_conf(full.unattended)
    assert by_itself.dataset == by_hand.dataset == full.conf.dataset
    assert by_itself.dataset.labels == ["cat", "dog", "owl"]
    assert (by_itself.resources.instance_type, by_hand.resources.instance_type) == ("ml.g5.xlarge",) * 2
    assert (by_hand.promotion.allow_label_change, by_hand.endpoint.deploy) == (True, True)
    assert (by_itself.promotion.allow_label_change, by_itself.endpoint.deploy) == (False, False)
    assert "pets has new classes: owl. A full training with all 3 starts; its model will wait" in caplog.text
    assert isinstance(retraining, Retraining), "the images of the known classes are not held up"
    assert retraining.new_images == 2
    assert f"The run {full.run_id} was started for them." in caplog.text
    assert isinstance(of_more, FullTraining)
    assert of_more.run_id != full.run_id


def test_the_conf_of_a_version_keeps_how_work_is_cut(bucket: Bucket, pets: DatasetVersion) -> None:
    asked = RunConf.from_conf({"dataset.packing.shard_images": 50, "dataset.max_bad_fraction": 0.5})

    conf = dataset_conf(asked.dataset, pets)

    assert (conf.packing.shard_images, conf.packing.resize, conf.max_bad_fraction) == (50, 12, 0.5)
    assert (conf.name, conf.labels, conf.source) == ("pets", ["cat", "dog"], [f"s3://{bucket.name}/images/"])


def test_a_version_of_a_label_table_grows_with_the_table(bucket: Bucket) -> None:
    table = f"s3://{bucket.name}/labels.csv"
    lines = [f"{label}/{number:03d}.jpg,{label}" for label in ("cat", "dog") for number in range(8)]
    bucket.put_images({"cat": 8, "dog": 8})
    bucket.put("labels.csv", "\n".join(["path,label", *lines[:-2]]).encode())
    built = bucket.build(bucket.conf(label_tables=[table], multi_label=True, packing={"pass_through": True}))
    assert grown_one(bucket.s3, line(), data_bucket=bucket.name) is None
    bucket.put("labels.csv", "\n".join(["path,label", *lines]).encode())

    found = grown_one(bucket.s3, line(), data_bucket=bucket.name)

    assert found is not None
    assert (found.new_images, found.conf.dataset.label_tables) == (2, [table])
    grown = bucket.build(found.conf.dataset, "scheduled__2", parent=found.parent)
    assert (grown.counts.total, grown.multi_label, grown.packing) == (16, True, built.packing)


def test_a_version_of_split_folders_grows_in_its_folders(bucket: Bucket) -> None:
    bucket.put_images({"train/cat": 8, "train/dog": 8, "test/cat": 2, "test/dog": 2})
    conf = bucket.conf(layout="split_folders", split={"test_as": "validation"})
    bucket.build(conf)
    bucket.put_images({"test/dog": 2}, first=20)

    found = grown_one(bucket.s3, line(), data_bucket=bucket.name)

    assert found is not None
    assert (found.new_images, found.conf.dataset.layout) == (2, "split_folders")
    grown = bucket.build(found.conf.dataset, "scheduled__2", parent=found.parent)
    assert (grown.counts.validation, grown.split.test_as) == (6, "validation")


def grown(bucket: Bucket, conf: DatasetConf, grow: Callable[[], None]) -> tuple[Retraining, DatasetVersion]:
    """What is found, and built, once a version of `conf` has grown."""
    first = bucket.build(conf)
    assert grown_one(bucket.s3, line(), data_bucket=bucket.name) is None
    grow()
    found = grown_one(bucket.s3, line(), data_bucket=bucket.name)
    assert found is not None
    assert RunConf.from_conf(found.conf.model_dump(mode="json")) == found.conf, "the next run reads it"
    version = bucket.build(found.conf.dataset, "scheduled__2", parent=found.parent)
    assert version.source == first.source.model_copy(update={"inventory": version.source.inventory})
    assert version.labels == first.labels
    return found, version


def numbered_list(bucket: Bucket, numbers: Iterable[int], classes: int) -> None:
    lines = [f"{number}\t{number % classes:f}\t{'cat' if number % 2 else 'dog'}/{number:03d}.jpg" for number in numbers]
    bucket.put("all.lst", "\n".join(lines).encode())


@pytest.mark.parametrize("labels", [[], ["dog", "cat"], ["1", "0"]])
def test_a_list_grows_by_its_lines_whatever_its_classes_are_called(bucket: Bucket, labels: list[str]) -> None:
    bucket.put_images({"cat": 20, "dog": 20})
    numbered_list(bucket, range(12), 2)
    conf = bucket.conf(label_tables=[f"s3://{bucket.name}/all.lst"], labels=labels)

    found, version = grown(bucket, conf, lambda: numbered_list(bucket, range(16), 2))

    assert (found.new_images, version.counts.total, version.labels) == (4, 16, labels or ["0", "1"])


def test_labels_of_a_file_stay_when_a_list_grows(bucket: Bucket) -> None:
    bucket.put_images({"cat": 20, "dog": 20})
    bucket.put("names.txt", b"red\ngreen\nblue\n")
    numbered_list(bucket, range(12), 3)
    conf = bucket.conf(
        label_tables=[f"s3://{bucket.name}/all.lst"],
        labels_file=f"s3://{bucket.name}/names.txt",
        labels=["blue", "red"],
        packing={"resize": 12, "fast_decode": True, "minimum_side": 8},
    )

    found, version = grown(bucket, conf, lambda: numbered_list(bucket, range(18), 3))

    assert (found.new_images, version.counts.total) == (4, 12)
    assert (found.conf.dataset.packing.fast_decode, found.conf.dataset.packing.minimum_side) == (True, 8)


def test_a_version_of_an_inventory_grows_with_the_newest_report(bucket: Bucket) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    uri = Report(bucket).write()

    def grow() -> None:
        bucket.put_images({"cat": 2}, first=20)
        for date in ("2026-01-04T01-00Z", "2026-01-03T01-00Z"):
            Report(bucket, "Parquet", date=date).write()
        bucket.put("inventory/2026-01-05T01-00Z/manifest.checksum", b"still being written")

    found, version = grown(bucket, bucket.conf(inventory=uri), grow)

    assert (found.new_images, version.counts.total) == (2, 14)
    assert version.source.inventory == uri.replace("2026-01-02", "2026-01-04")


def test_an_image_list_grows_by_its_lines_and_its_tables_by_their_rows(bucket: Bucket) -> None:
    bucket.put_images({"cat": 9, "dog": 9})
    keys = [f"{label}/{number:03d}.jpg" for number in range(9) for label in ("cat", "dog")]

    def write(listed: int, labelled: int) -> None:
        bucket.put("s3-paths.txt", "\n".join(keys[:listed]).encode())
        rows = [f"{key},{key.partition('/')[0]}" for key in keys[:labelled]]
        bucket.put("labels.csv", "\n".join(["path,label", *rows]).encode())

    write(12, 10)
    conf = bucket.conf(image_list=f"s3://{bucket.name}/s3-paths.txt", label_tables=[f"s3://{bucket.name}/labels.csv"])

    found, version = grown(bucket, conf, lambda: write(16, 16))

    assert (found.new_images, version.counts.total, version.statuses.get("unlabelled")) == (6, 16, None)


def test_a_source_that_cannot_be_read_holds_up_no_other_dataset(
    bucket: Bucket, pets: DatasetVersion, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put("labels.csv", b"path,label\ncat/000.jpg,cat\ndog/000.jpg,dog\ncat/001.jpg,cat\ndog/001.jpg,dog\n")
    bucket.build(bucket.conf(name="birds", label_tables=[f"s3://{bucket.name}/labels.csv"]))
    bucket.put("labels.csv", b"half a tab")
    with pytest.raises(DatasetError, match="has no column 'path'"):
        grown_one(bucket.s3, line(), data_bucket=bucket.name)
    bucket.put_images({"cat": 2}, first=12)

    found = grown_one(bucket.s3, line(), data_bucket=bucket.name)

    assert found is not None
    assert found.conf.dataset.name == "pets"
    assert "It is not known whether birds has grown" in caplog.text


def test_a_dataset_without_a_champion_holds_up_no_other(bucket: Bucket, pets: DatasetVersion) -> None:
    birds = bucket.conf(name="birds", source=[f"s3://{bucket.name}/images/"])
    bucket.build(birds, "manual__birds")
    bucket.put_images({"cat": 2, "dog": 2}, first=12)

    found = grown_one(bucket.s3, line(only="birds"), data_bucket=bucket.name)

    assert found is not None
    assert found.conf.dataset.name == "birds"
    assert grown_one(bucket.s3, line(only="cars"), data_bucket=bucket.name) is None


def test_a_version_of_broken_images_gains_none(bucket: Bucket, pets: DatasetVersion) -> None:
    bucket.put("images/cat/broken.jpg", b"no image")
    found = grown_one(bucket.s3, line(RunConf.from_conf({"dataset.max_bad_fraction": 0.5})), data_bucket=bucket.name)
    assert found is not None

    grown = bucket.build(found.conf.dataset, "scheduled__2", parent=found.parent)

    assert why_not_trained(bucket.s3, grown).startswith(f"No new image of {grown.uri} could be packed: ")
    assert why_not_trained(bucket.s3, pets) == ""
    assert grown_one(bucket.s3, line(), data_bucket=bucket.name) is None


def test_new_images_that_all_are_held_out_teach_nothing(bucket: Bucket) -> None:
    """Eight of twelve images of each class are for training, so that a new one is for validation or test."""
    bucket.put_images({"cat": 12, "dog": 12})
    conf = bucket.conf(split={"train_per_class": 8}, packing={"resize": 12})
    first = bucket.build(conf)
    bucket.put_images({"cat": 2, "dog": 1}, first=12)
    found = grown_one(bucket.s3, line(), data_bucket=bucket.name)
    assert found is not None

    grown = bucket.build(found.conf.dataset, "scheduled__2", parent=found.parent)
    of_more = bucket.conf(split={"train_per_class": 9}, packing={"resize": 12})

    assert (first.new_training_images, grown.newly_packed, grown.new_training_images) == (16, 3, 0)
    assert why_not_trained(bucket.s3, grown) == (
        f"All 3 new images of {grown.uri} are held out, for validation or test; every class has its 8 training images "
        "(dataset.split.train_per_class): nothing to learn."
    )
    assert grown_one(bucket.s3, line(), data_bucket=bucket.name) is None, "the version has them"
    bucket.put_images({"cat": 1}, first=20)
    assert why_not_trained(bucket.s3, bucket.build(of_more, "manual__3", parent=grown.uri)) == ""


def test_a_retraining_without_incremental_training_is_refused() -> None:
    check_retraining_conf(RunConf())
    with pytest.raises(RunConfError, match=r"incremental\.enabled = False: a retraining trains the champion"):
        check_retraining_conf(RunConf.from_conf({"incremental.enabled": False}))


def test_a_changed_archive_is_unpacked_and_only_its_new_images_are_packed(bucket: Bucket) -> None:
    def pack(count: int) -> None:
        images = {f"{pet}/{n}.jpg": jpeg(seed=100 * place + n) for place, pet in enumerate("ab") for n in range(count)}
        bucket.put("pets.zip", zip_of(images))

    pack(10)
    conf = bucket.conf(source=[f"s3://{bucket.name}/pets.zip"])
    unpack_sources(bucket.s3, conf, bucket.name)
    version = bucket.build(conf)
    assert grown_one(bucket.s3, line(), data_bucket=bucket.name) is None
    pack(12)

    found = grown_one(bucket.s3, line(), data_bucket=bucket.name)

    assert found is not None
    assert found.new_images == 4
    plan = bucket.plan(found.conf.dataset, "scheduled__2", parent=version.uri)
    assert (plan.new_images, sum(shard.images for shard in plan.shards)) == (4, 4)


def test_the_newest_version_with_the_champions_classes_grows_and_not_one_with_others(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put_images({"cat": 12, "dog": 12, "owl": 12})
    pets = bucket.build(bucket.conf(labels=["cat", "dog"]), "manual__1")
    day_after = pets.created + timedelta(days=1)
    other = bucket.build(bucket.conf(labels=["cat", "owl"]), "manual__other", run_after=day_after)
    bucket.put_images({"cat": 2, "dog": 1, "owl": 5}, first=12)

    with caplog.at_level(logging.INFO):
        found = grown_one(bucket.s3, line(labels=["cat", "dog"]), data_bucket=bucket.name)

    assert found is not None
    assert (found.parent, found.new_images, found.conf.dataset.labels) == (pets.uri, 3, ["cat", "dog"])
    assert f"pets/{other.version} has other classes than image-classification-pets version 1" in caplog.text


def test_a_champion_whose_classes_no_version_has_is_named(bucket: Bucket, pets: DatasetVersion) -> None:
    with pytest.raises(DatasetError, match="no version of dataset pets has the classes of image-classification-pets"):
        grown_one(bucket.s3, line(labels=["cat", "owl"]), data_bucket=bucket.name)


def test_an_endpoint_that_serves_something_else_holds_up_no_other_dataset(bucket: Bucket, pets: DatasetVersion) -> None:
    def lines(name: str) -> Line | None:
        if name == "pets":
            raise UnknownChampionError("pets", "Endpoint pets serves model of-a-person")
        found: Line | None = line()(name)
        return found

    with pytest.raises(UnknownChampionError, match="of-a-person"):
        grown_one(bucket.s3, lines, data_bucket=bucket.name)
    bucket.build(bucket.conf(name="birds", source=[f"s3://{bucket.name}/images/"]), "manual__birds")
    bucket.put_images({"cat": 2, "dog": 2}, first=12)

    found = grown_one(bucket.s3, lines, data_bucket=bucket.name)

    assert found is not None
    assert found.conf.dataset.name == "birds"


KEPT = RunConf.from_conf(
    {
        "dataset": {"name": "pets", "version": "v1", "max_bad_fraction": 0.3},
        "training": {"mode": "both", "trials": [{"name": "deep"}], "hyperparameters": {"epochs": 30, "top_k": 2}},
        "tuning": {"max_jobs": 4, "ranges": {"learning_rate": {"min": 0.001, "max": 0.1}}},
        "resources": {"instance_type": "ml.g5.2xlarge", "spot": True, "max_cost": 9.5},
        "incremental": {"enabled": False, "hyperparameters": {"learning_rate": 0.002}},
        "promotion": {"minimum_accuracy": 0.93},
        "endpoint": {"name": "pets-live", "instance_type": "ml.c5.large", "keep": False},
    }
)
"""What a person chose in the run that trained the champion."""


def of_line(line: dict[str, Any] | None = None, asked: dict[str, Any] | None = None, **changes: Any) -> RunConf:
    """The conf of a retraining by schedule, or of what a person asked it; `changes` are the live endpoint's."""
    endpoint = None if changes == {"absent": True} else live(**changes)
    champion = Champion(CHAMPION, endpoint, "which endpoint pets-live serves")
    wanted, problems = RunConf.read_changes(asked or {})
    assert problems == []
    return retraining_conf(champion, KEPT, line or {}, wanted)


def test_a_scheduled_retraining_does_as_the_person_chose_who_trained_the_champion() -> None:
    conf = of_line(absent=True)

    for section in ("resources", "promotion", "endpoint", "tuning"):
        assert getattr(conf, section) == getattr(KEPT, section), section
    assert conf.training.hyperparameters == KEPT.training.hyperparameters
    assert conf.incremental.hyperparameters == KEPT.incremental.hyperparameters
    assert conf.incremental.enabled, "nothing else is trained"
    assert conf.training.trials == [], "nothing is trained from scratch"


def test_a_champion_that_was_made_of_an_earlier_model_is_itself_what_the_retraining_continues_from() -> None:
    kept = RunConf.from_conf({"training.mode": "none", "incremental.from": "some-job"})

    conf = retraining_conf(Champion(CHAMPION, None, "which was promoted last"), kept, {}, RunConf())

    assert (conf.training.mode, conf.incremental.start) == ("train", "best")
    check_retraining_conf(conf)
    with pytest.raises(RunConfError, match=r"incremental\.from = 3: a retraining starts from the champion"):
        check_retraining_conf(RunConf.from_conf({"training.mode": "none", "incremental.from": "3"}))


def test_a_change_of_classes_was_allowed_for_one_run_only() -> None:
    allowed = KEPT.model_copy(update={"promotion": KEPT.promotion.model_copy(update={"allow_label_change": True})})
    champion = Champion(CHAMPION, None, "which was promoted last")

    conf = retraining_conf(champion, allowed, {}, RunConf())

    assert conf.promotion == KEPT.promotion


def test_a_live_endpoint_keeps_its_name_and_its_machines() -> None:
    changed = of_line(name="by-hand", instance_type="ml.g4dn.xlarge", instance_count=3).endpoint
    serverless = of_line(instance_type=None, instance_count=None).endpoint
    about_to_go = of_line(keep=False).endpoint

    assert (changed.name, changed.instance_type, changed.instance_count) == ("by-hand", "ml.g4dn.xlarge", 3)
    assert (changed.keep, changed.deploy) == (True, True)
    assert (serverless.instance_type, serverless.instance_count) == ("ml.c5.large", 1)
    assert about_to_go.keep is False
    assert [of_line(keep_previous=kept).endpoint.keep_previous for kept in (3, None)] == [3, 1]


def test_the_settings_change_a_line_and_what_a_person_asks_changes_one_run() -> None:
    line = {"promotion.minimum_accuracy": 0.5, "endpoint": {"instance_count": 4}}
    asked = {"promotion": {"minimum_accuracy": 0.6}, "dataset.max_bad_fraction": 0.9, "dataset.labels": ["owl", "ox"]}

    scheduled, started = of_line(line), of_line(line, asked)

    assert (scheduled.promotion.minimum_accuracy, scheduled.endpoint.instance_count) == (0.5, 4)
    assert (started.promotion.minimum_accuracy, started.endpoint.instance_count) == (0.6, 4)
    assert (started.dataset.max_bad_fraction, started.dataset.labels) == (0.9, [])
    assert scheduled.resources == started.resources == KEPT.resources


def test_a_field_that_the_form_left_empty_changes_nothing() -> None:
    emptied = {
        "promotion.minimum_accuracy": None,
        "endpoint.keep": None,
        "endpoint": {"name": ""},
        "resources.spot": "",
    }

    assert of_line(asked=emptied) == of_line()


def test_what_is_asked_has_to_fit_the_champions_conf_and_need_not_be_a_conf_by_itself() -> None:
    waits = {"resources.max_wait_seconds": 100_000}

    assert of_line(asked=waits).resources.max_wait_seconds == 100_000, "the champion's run used spot machines"
    with pytest.raises(RunConfError, match=r"resources\.max_wait_seconds = 100000: .*set resources\.spot"):
        of_line({"resources.spot": False}, waits)


def test_what_is_asked_wrongly_is_reported() -> None:
    _, problems = RunConf.read_changes({"promotion.minimum_accuracy": 3, "endpoint.keep": None})

    assert [problem.field for problem in problems] == ["promotion.minimum_accuracy"]

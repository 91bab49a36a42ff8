from __future__ import annotations

import pytest

from include.datasets.errors import DatasetError
from include.datasets.sources.source import open_source
from include.datasets.unpacking.unpack import unpack_sources
from tests.support.archives import rec_of, zip_of
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg


def test_a_label_table_labels_the_images_of_an_archive(bucket: Bucket) -> None:
    members = {f"scenes/{'day' if number % 2 else 'night'}/{number}.jpg": jpeg(seed=number) for number in range(12)}
    bucket.put("scenes.zip", zip_of(members))
    rows = [f"{name.removeprefix('scenes/')},1,{number % 3 // 2}" for number, name in enumerate(members)]
    bucket.put("scenes.csv", "\n".join(["path,sky,sea", *rows]).encode())
    conf = bucket.conf(
        source=[f"s3://{bucket.name}/scenes.zip"],
        label_tables=[f"s3://{bucket.name}/scenes.csv"],
        multi_label=True,
    )
    unpack_sources(bucket.s3, conf, bucket.name)

    version = bucket.build(conf)

    assert (version.labels, version.multi_label, version.statuses) == (["sky", "sea"], True, {"packed": 12})
    assert version.source.addresses == [f"s3://{bucket.name}/scenes.zip"]


def test_records_that_are_split_leave_nothing_to_count_per_class(bucket: Bucket) -> None:
    bucket.put("pets-train.rec", rec_of([([number % 2], jpeg(seed=number)) for number in range(6)]))
    conf = bucket.conf(source=[f"s3://{bucket.name}/pets-train.rec"], split={"train_per_class": 1})
    unpack_sources(bucket.s3, conf, bucket.name)
    with pytest.raises(DatasetError, match=r"train_per_class = 1, but dataset\.source .*pets-train\.rec has splits"):
        open_source(bucket.s3, conf, bucket.name)

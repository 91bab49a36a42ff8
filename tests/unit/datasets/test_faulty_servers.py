"""A fault that passes costs time and no image; one that stays ends in an error that says what, and leaves nothing."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from include.datasets.errors import DatasetError
from include.datasets.manifest import read_manifest, to_rows
from include.datasets.packing import ShardResult, pack_shard
from include.datasets.version import VersionPlan
from tests.support.dataset_bucket import Bucket
from tests.support.faulty_s3 import (
    Fault,
    FaultyS3,
    after,
    breaks_off,
    client_of,
    fails_in_its_body,
    refuses,
    resets,
    serve,
    stalls,
    stalls_midway,
)
from tests.support.pictures import jpeg

ODD_KEY = "images/dog/odd\tkey.jpg"
ERROR_500 = refuses("500 Internal Server Error", "InternalError")
SLOW_DOWN = refuses("503 Slow Down", "SlowDown")
UPLOAD_PART = re.compile(r"^PUT .*partNumber=")
COMPLETE = re.compile(r"^POST .*uploadId=")
CREATE = re.compile(r"^POST .*\?uploads")
FOR_EVER = 10_000


@pytest.fixture
def server() -> Iterator[FaultyS3]:
    with serve(FaultyS3()) as faulty:
        yield faulty


def pack(server: FaultyS3, plan: VersionPlan, **options: object) -> list[ShardResult]:
    client = client_of(server, **options)
    return [pack_shard(client, plan, shard) for shard in plan.shards]


def statuses(bucket: Bucket, plan: VersionPlan) -> dict[str, str]:
    return {
        row.key: row.status
        for shard in plan.shards
        for row in to_rows(read_manifest(bucket.s3, bucket.name, plan.layout.shard_manifest(shard.index)))
    }


@pytest.fixture
def plan(bucket: Bucket) -> VersionPlan:
    bucket.put_images({"cat": 4, "dog": 4})
    bucket.put(ODD_KEY, jpeg(20, 24, seed=99))
    return bucket.plan(bucket.conf())


def assert_nothing_is_left(bucket: Bucket, plan: VersionPlan) -> None:
    assert bucket.listing(plan.layout.shards) == []
    assert bucket.stale_uploads() == 0


@pytest.mark.parametrize("ignores_ranges", [False, True], ids=["", "without ranges"])
@pytest.mark.parametrize("fault", [ERROR_500, SLOW_DOWN, breaks_off, resets], ids=["500", "503", "breaks off", "reset"])
def test_a_fault_costs_time_but_no_image(
    server: FaultyS3, plan: VersionPlan, fault: Fault, ignores_ranges: bool
) -> None:
    server.fault, server.ignores_ranges = fault, ignores_ranges
    results = pack(server, plan)
    assert len(server.failed) == 9
    assert [result.bad for result in results] == [{}] * len(plan.shards)
    assert sum(result.records for result in results) == 9


@pytest.mark.parametrize("fault", [stalls, stalls_midway], ids=["before its answer", "within its body"])
def test_a_server_that_stalls_is_asked_again(server: FaultyS3, plan: VersionPlan, fault: Fault) -> None:
    server.fault = fault
    results = pack(server, plan, read_timeout=1)
    assert sum(result.records for result in results) == 9


@pytest.mark.parametrize("fault", [SLOW_DOWN, breaks_off], ids=["503", "breaks off"])
def test_an_object_replaced_while_it_is_asked_again_is_changed(
    server: FaultyS3, bucket: Bucket, plan: VersionPlan, fault: Fault
) -> None:
    server.fault = after(lambda key: bucket.put(key, jpeg(20, 24, seed=7)), fault)
    pack(server, plan)
    assert set(statuses(bucket, plan).values()) == {"changed"}


@pytest.mark.parametrize("fault", [SLOW_DOWN, breaks_off], ids=["503", "breaks off"])
def test_an_object_deleted_while_it_is_asked_again_is_missing(
    server: FaultyS3, bucket: Bucket, plan: VersionPlan, fault: Fault
) -> None:
    server.fault = after(lambda key: bucket.s3.delete_object(Bucket=bucket.name, Key=key), fault)
    pack(server, plan)
    assert set(statuses(bucket, plan).values()) == {"missing"}


@pytest.mark.parametrize("chosen", ["^GET .*/images/cat/", "^GET .*odd.key"], ids=["plain key", "odd key"])
@pytest.mark.parametrize(
    "stays",
    [
        (refuses("403 Forbidden", "AccessDenied"), DatasetError, "may not be read .*give the role s3:GetObject"),
        (refuses("400 Bad Request", "ExpiredToken"), DatasetError, "credentials have expired.*renew"),
        (refuses("403 Forbidden", "ExpiredToken"), DatasetError, "credentials have expired.*renew"),
        (SLOW_DOWN, OSError, "cannot be read: .*(503|SlowDown).*clear the task when S3 answers again"),
        (resets, OSError, "cannot be read: .*clear the task when S3 answers again"),
        (breaks_off, OSError, "breaks off .*3 times: try again later|arrives with"),
        (stalls, OSError, "cannot be read: .*clear the task when S3 answers again"),
    ],
    ids=["403", "expired", "expired as 403", "503", "reset", "breaks off", "stalls"],
)
def test_a_fault_that_stays_is_an_error_that_says_what_to_do(
    server: FaultyS3, plan: VersionPlan, chosen: str, stays: tuple[Fault, type[Exception], str]
) -> None:
    fault, error, says = stays
    server.chosen, server.fault, server.times = re.compile(chosen), fault, FOR_EVER
    with pytest.raises(error, match=says):
        pack(server, plan, read_timeout=0.5, retries={"total_max_attempts": 2})


@functools.cache
def noisy_images() -> list[bytes]:
    """Nine images of a megabyte, which no encoder makes smaller."""
    noise = np.random.default_rng(0).integers
    return [cv2.imencode(".png", noise(0, 255, (600, 600, 3), dtype=np.uint8))[1].tobytes() for _ in range(9)]


@pytest.fixture
def large_plan(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> VersionPlan:
    """Of a shard that is uploaded in two parts."""
    monkeypatch.setattr("include.datasets.objects.SINK_PART", 5 << 20)
    for number, image in enumerate(noisy_images()):
        bucket.put(f"images/{'cat' if number % 2 else 'dog'}/{number}.png", image)
    return bucket.plan(bucket.conf(packing={"pass_through": True}, split={"train_per_class": 3}))


UPLOAD_FAULTS = [
    pytest.param((UPLOAD_PART, ERROR_500), id="part 500"),
    pytest.param((UPLOAD_PART, SLOW_DOWN), id="part 503"),
    pytest.param((UPLOAD_PART, resets), id="part reset"),
    pytest.param((CREATE, SLOW_DOWN), id="create 503"),
    pytest.param((COMPLETE, fails_in_its_body), id="complete 200 with an error"),
    pytest.param((COMPLETE, ERROR_500), id="complete 500"),
]


@pytest.mark.parametrize("upload", UPLOAD_FAULTS)
def test_a_fault_of_the_upload_costs_time_but_no_record(
    server: FaultyS3, bucket: Bucket, large_plan: VersionPlan, upload: tuple[re.Pattern[str], Fault]
) -> None:
    server.chosen, server.fault = upload
    shard = large_plan.shards[0]
    result = pack_shard(client_of(server), large_plan, shard)
    assert len(server.failed) == 1
    assert result.records == shard.images
    assert len(bucket.get(large_plan.layout.packed_shard(0))) == result.bytes > 5 << 20
    assert bucket.stale_uploads() == 0


@pytest.mark.parametrize("upload", UPLOAD_FAULTS)
def test_an_upload_that_goes_on_failing_is_an_error_and_leaves_nothing(
    server: FaultyS3, bucket: Bucket, large_plan: VersionPlan, upload: tuple[re.Pattern[str], Fault]
) -> None:
    server.chosen, server.fault = upload
    server.times = FOR_EVER
    client = client_of(server, retries={"total_max_attempts": 2})
    with pytest.raises((ClientError, BotoCoreError), match=r"InternalError|SlowDown|Connection|reset|closed"):
        pack_shard(client, large_plan, large_plan.shards[0])
    assert_nothing_is_left(bucket, large_plan)


def test_a_shard_that_failed_is_packed_by_a_retry(server: FaultyS3, bucket: Bucket, large_plan: VersionPlan) -> None:
    server.chosen, server.fault, server.times = COMPLETE, fails_in_its_body, FOR_EVER
    with pytest.raises(ClientError, match="InternalError"):
        pack_shard(client_of(server, retries={"total_max_attempts": 2}), large_plan, large_plan.shards[0])
    result = pack_shard(bucket.s3, large_plan, large_plan.shards[0])
    assert result.records == large_plan.shards[0].images

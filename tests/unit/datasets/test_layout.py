from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.layout import (
    SPLITS,
    UnpackedLayout,
    VersionLayout,
    keep_queries,
    parse_s3_uri,
    sealed_address,
    version_name,
    whole_address,
)
from include.datasets.unpacking.addresses import SourcePolicy
from include.datasets.unpacking.unpack import unpack_sources
from include.datasets.version import load
from include.run_conf import DatasetConf
from tests.support.archives import zip_of
from tests.support.dataset_bucket import Bucket
from tests.support.lines import grown_one, line
from tests.support.pictures import jpeg
from tests.support.web_server import LOOPBACK, READS_LOOPBACK, WebServer, serve

MOMENT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def test_every_retry_of_a_run_gets_the_same_version() -> None:
    assert version_name("manual__1", MOMENT) == version_name("manual__1", MOMENT)
    assert version_name("manual__1", MOMENT).startswith("20260301T123000Z-")


def test_two_runs_of_the_same_moment_get_two_versions() -> None:
    assert version_name("manual__1", MOMENT) != version_name("manual__2", MOMENT)


def test_a_time_of_another_zone_is_named_in_utc() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=9)))
    assert version_name("manual__1", elsewhere) == version_name("manual__1", MOMENT)
    assert version_name("manual__1", MOMENT.replace(tzinfo=None)) == version_name("manual__1", MOMENT)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(1, 10**9), st.text(), st.text())
def test_later_versions_sort_after_earlier_ones(moment: datetime, seconds: int, first: str, second: str) -> None:
    assert version_name(first, moment) < version_name(second, moment + timedelta(seconds=seconds))


def test_a_channel_holds_nothing_but_its_records() -> None:
    layout = VersionLayout("data", "pets", "v1")
    others = [layout.manifest, layout.labels, layout.document, layout.plan, layout.shards, layout.excluded]
    others += [layout.index(split) for split in SPLITS]
    for split in SPLITS:
        channel = f"{layout.prefix}{split}"
        assert layout.records(split).startswith(channel)
        assert not [key for key in others if key.startswith(channel)]


def test_an_address_leads_back_to_its_layout() -> None:
    layout = VersionLayout("data", "pets", "v1")
    assert VersionLayout.of_uri(layout.uri) == layout


@pytest.mark.parametrize("uri", ["data/datasets/pets/v1/", "https://data/x", "s3://", "s3:///key"])
def test_what_is_no_s3_address_is_refused_by_its_value(uri: str) -> None:
    with pytest.raises(DatasetError, match="is not an S3 address"):
        parse_s3_uri(uri)


def test_an_address_that_is_no_version_is_refused() -> None:
    with pytest.raises(DatasetError, match="is not a dataset version: write s3://bucket/datasets/NAME/VERSION/"):
        VersionLayout.of_uri("s3://data/images/")


QUERY = "X-Amz-Credential=AKIAEXAMPLE&X-Amz-Signature=0123456789abcdef"


def pets(count: int) -> bytes:
    return zip_of(
        {f"{pet}/{n}.jpg": jpeg(seed=100 * place + n) for place, pet in enumerate("ab") for n in range(count)}
    )


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve(pets(8)) as server:
        server.query = QUERY
        yield server


def everything(bucket: Bucket) -> dict[str, bytes]:
    return {key: bucket.get(key) for key in bucket.listing("")}


def test_a_signature_lies_in_one_object_and_a_retraining_still_reads_the_address(
    bucket: Bucket, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="include")
    address, hidden = f"{web.url}/a.zip?{QUERY}", []
    policy = SourcePolicy(networks=LOOPBACK, hide=hidden.append)
    conf = keep_queries(bucket.s3, DatasetConf(name="pets", source=[address]), bucket.name)
    unpack_sources(bucket.s3, conf, bucket.name, policy)
    version = bucket.build(conf)

    secret = "0123456789abcdef"
    assert [key for key, body in everything(bucket).items() if secret.encode() in body] == [
        f"unpacked/pets/{conf.source[0].rpartition('=')[2]}/address.txt"
    ]
    for document in (conf, version, bucket.plan(conf), load(bucket.s3, version.uri)):
        assert secret not in document.model_dump_json()
    assert version.source.addresses == conf.source
    assert secret not in caplog.text
    assert secret in hidden, "who keeps secrets out of logs heard of it before it was used"

    web.body = pets(10)
    found = grown_one(bucket.s3, line(), data_bucket=bucket.name, policy=READS_LOOPBACK)
    assert found is not None
    assert found.new_images == 4
    assert secret not in repr(found)


def test_a_whole_address_given_to_the_functions_of_a_build_is_sealed_by_them(bucket: Bucket, web: WebServer) -> None:
    conf = DatasetConf(name="pets", source=[f"{web.url}/a.zip?{QUERY}"])
    unpack_sources(bucket.s3, conf, bucket.name, READS_LOOPBACK)
    version = bucket.build(conf)
    assert version.source.addresses == [sealed_address(conf.source[0])]
    assert b"0123456789abcdef" not in bucket.get(version.layout.document)


def test_a_document_of_before_is_sealed_as_it_is_read(bucket: Bucket, web: WebServer) -> None:
    address = f"{web.url}/a.zip?{QUERY}"
    conf = DatasetConf(name="pets", source=[address])
    unpack_sources(bucket.s3, conf, bucket.name, READS_LOOPBACK)
    version = bucket.build(conf)
    document = json.loads(bucket.get(version.layout.document))
    document["source"]["addresses"] = [address]
    bucket.put(version.layout.document, json.dumps(document).encode())
    bucket.s3.delete_object(Bucket=bucket.name, Key=f"{place_of(address)}/address.txt")

    again = load(bucket.s3, version.uri)

    assert again == version
    assert whole_address(bucket.s3, UnpackedLayout(bucket.name, "pets", again.source.addresses[0])) == address


def place_of(address: str) -> str:
    return f"unpacked/pets/{sealed_address(address).rpartition('=')[2]}"


def test_the_reference_of_an_address_sends_its_query_to_no_other_server(bucket: Bucket) -> None:
    keep_queries(bucket.s3, DatasetConf(name="pets", source=[f"https://acme.com/a.zip?{QUERY}"]), bucket.name)
    sealed = sealed_address(f"https://acme.com/a.zip?{QUERY}")
    assert whole_address(bucket.s3, UnpackedLayout(bucket.name, "pets", sealed)) == f"https://acme.com/a.zip?{QUERY}"
    for other in (sealed.replace("acme.com", "evil.example"), sealed.replace("a.zip", "b.zip")):
        with pytest.raises(DatasetError, match=r"the rest of this address is not kept in s3://.*address\.txt: name"):
            whole_address(bucket.s3, UnpackedLayout(bucket.name, "pets", other))


@pytest.mark.parametrize("address", ["s3://bucket/a?b.zip", "https://acme.com/a.zip", "https://acme.com/a.zip#?x"])
def test_an_address_without_a_query_stays_as_it_is(bucket: Bucket, address: str) -> None:
    assert sealed_address(address) == address
    conf = DatasetConf(name="pets", source=[address])
    assert keep_queries(bucket.s3, conf, bucket.name) is conf
    assert bucket.listing("") == []

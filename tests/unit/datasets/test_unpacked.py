"""A pre-signed address works through a whole build and a retraining, and is kept in one place only."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from include.datasets.errors import DatasetError
from include.datasets.unpacked import UnpackedLayout, keep_queries, sealed_address, whole_address
from include.datasets.unpacking.addresses import SourcePolicy
from include.datasets.unpacking.unpack import unpack_sources
from include.datasets.version import load
from include.run_conf import DatasetConf
from tests.support.archives import zip_of
from tests.support.dataset_bucket import Bucket
from tests.support.lines import grown_one, line
from tests.support.pictures import jpeg
from tests.support.web_server import LOOPBACK, READS_LOOPBACK, WebServer, serve

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

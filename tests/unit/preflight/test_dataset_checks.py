from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.preflight import PreflightError
from include.preflight.checking import check
from include.run_conf import RunConf
from tests.support.documents import settings
from tests.support.web_server import serve

READS_LOOPBACK = settings(source_networks=["127.0.0.0/8"])
ARCHIVE = "s3://images-of-acme/pets.zip"


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3", region_name="eu-central-1")
        for bucket in ("images-of-acme", "models-of-acme"):
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield client


def refused(s3: Any, *addresses: str) -> list[str]:
    with pytest.raises(PreflightError) as error:
        check(RunConf.from_conf({"dataset": {"source": list(addresses)}}), READS_LOOPBACK, s3=s3)
    return [str(problem) for problem in error.value.problems]


def test_archives_that_cannot_be_read_are_told_together(s3: Any) -> None:
    with serve() as web:
        web.head, web.statuses = False, [404]
        assert refused(s3, ARCHIVE, f"{web.url}/a.zip?key=hidden") == [
            f"dataset.source = {ARCHIVE}: there is no such object: correct the address, or upload it",
            f"dataset.source = {web.url}/a.zip?...: the server answers 404: there is nothing: correct the address",
        ]


def test_a_web_address_inside_the_network_is_refused_unless_the_settings_allow_it(s3: Any) -> None:
    with serve(b"zip") as web, pytest.raises(PreflightError, match=r"a\.zip: leads to 127\.0\.0\.1 .*source_networks"):
        check(RunConf.from_conf({"dataset.source": f"{web.url}/a.zip"}), settings(), s3=s3)
    assert web.requests == []


def test_archives_that_are_there_pass_at_a_head_each(s3: Any) -> None:
    s3.put_object(Bucket="images-of-acme", Key="pets.zip", Body=b"zip")
    with serve(b"zip") as web:
        check(RunConf.from_conf({"dataset": {"source": [ARCHIVE, f"{web.url}/a.zip"]}}), READS_LOOPBACK, s3=s3)
        assert web.requests == ["HEAD"]

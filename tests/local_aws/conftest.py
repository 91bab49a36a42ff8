from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support import airflow_home  # noqa: F401  (it comes before any import of Airflow)
from tests.support.boto_definitions import read_definitions_once
from tests.support.local_aws import ALLOWED_NAME, BUCKET, RunningLocalAws, start_local_aws

read_definitions_once()


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    """A local AWS of this test process, with an image `toy` beside the built-in one."""
    running = start_local_aws(tmp_path_factory.mktemp("local_aws"), "--allow-host", ALLOWED_NAME)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="session")
def s3(local_aws: RunningLocalAws) -> Any:
    """An S3 client, with the tests' bucket made and one small object under data/train/."""
    client = local_aws.client("s3")
    try:
        client.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou"
    client.put_object(Bucket=BUCKET, Key="data/train/train.rec", Body=b"records")
    return client


@pytest.fixture(scope="session")
def sagemaker(local_aws: RunningLocalAws, s3: Any) -> Any:
    return local_aws.client("sagemaker")


@pytest.fixture(scope="session")
def logs(local_aws: RunningLocalAws) -> Any:
    return local_aws.client("logs")

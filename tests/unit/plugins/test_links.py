from __future__ import annotations

import pytest

from image_classification.links import console_url


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_a_jobs_page_lies_in_the_console_of_its_partition(region: str, host: str) -> None:
    assert console_url(region, "jobs", "digits-1") == f"https://{host}/sagemaker/home?region={region}#/jobs/digits-1"

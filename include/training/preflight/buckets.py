"""The deployment's buckets: there, reachable, in the region."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from include.problems import Problem
from include.training.algorithm_image import registry_accounts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.settings import Settings


def bucket_problems(s3: S3Client, settings: Settings) -> Iterator[Problem]:
    """Buckets that are missing, closed to the connection's role, or of another region."""
    for field, bucket in (("data_bucket", settings.data_bucket), ("output_bucket", settings.output_bucket)):
        try:
            region = s3.head_bucket(Bucket=bucket).get("BucketRegion")
        except ClientError as error:
            yield Problem(field=f"settings.{field}", value=bucket, remedy=_remedy(error, settings.region))
        except BotoCoreError as error:
            yield Problem(field=f"settings.{field}", value=bucket, remedy=f"S3 does not answer: {error}")
        else:
            if region and region != settings.region and settings.region in registry_accounts():
                remedy = f"lies in {region}, and jobs of {settings.region} read buckets of {settings.region} only"
                yield Problem(field=f"settings.{field}", value=bucket, remedy=f"{remedy}: use a bucket of that region")


def _remedy(error: ClientError, region: str) -> str:
    code = error.response["ResponseMetadata"]["HTTPStatusCode"]
    remedies = {
        301: f"lies in another region than {region}: use a bucket of that region",
        403: "may not be read: allow s3:ListBucket to the connection's role",
        404: "does not exist: create it or correct the setting",
    }
    return remedies.get(code, f"S3 answers {code}: {error}")

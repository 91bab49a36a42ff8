"""The deployment's buckets: there, reachable, in the region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.datasets.errors import LIST, explained
from include.preflight.findings import Findings
from include.preflight.services import Question
from include.problems import Problem
from include.sagemaker.image_uris import registry_accounts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.settings import Settings


BUCKETS = ("data_bucket", "output_bucket")


def bucket_questions(s3: S3Client, settings: Settings) -> dict[str, Question]:
    """One for each bucket, by its setting: is it missing, closed to the connection's role, or of another region."""
    return {name: partial(_findings, s3, name, settings) for name in BUCKETS if settings.has(name)}


def bucket_problems(answers: Mapping[str, Findings], settings: Settings) -> list[Problem]:
    """What is wrong with the buckets; without S3 nothing works, so that a bucket that gave no answer is wrong too."""
    problems: list[Problem] = []
    for name in filter(settings.has, BUCKETS):
        problems += answers[name].problems
        for note in answers[name].notes:
            remedy = f"S3 gives {note.removeprefix(f'{name}: ')}: start again when it does"
            problems.append(Problem(field=f"settings.{name}", value=getattr(settings, name), remedy=remedy))
    return problems


def _findings(s3: S3Client, name: str, settings: Settings) -> Findings:
    return Findings.of(_problems(s3, name, settings))


def _problems(s3: S3Client, name: str, settings: Settings) -> Iterator[Problem]:
    field, bucket = f"settings.{name}", getattr(settings, name)
    try:
        region = s3.head_bucket(Bucket=bucket).get("BucketRegion")
    except ClientError as error:
        yield Problem(field=field, value=bucket, remedy=_remedy(_said(s3, bucket, error), settings.region, bucket))
        return
    if region and region != settings.region and settings.region in registry_accounts():
        remedy = f"lies in {region}, and jobs of {settings.region} read buckets of {settings.region} only"
        yield Problem(field=field, value=bucket, remedy=f"{remedy}: use a bucket of that region")


def _said(s3: S3Client, bucket: str, error: ClientError) -> ClientError:
    """The same refusal with its reason: an answer to a HEAD has no body, and so no code."""
    if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (400, 403):
        return error
    try:
        s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as said:
        return said
    return error


def _remedy(error: ClientError, region: str, bucket: str) -> str:
    code = error.response["ResponseMetadata"]["HTTPStatusCode"]
    remedies = {
        301: f"lies in another region than {region}: use a bucket of that region",
        404: "does not exist: create it or correct the setting",
    }
    return remedies.get(code) or explained(error, f"s3://{bucket}", LIST) or f"S3 answers {code}: {error}"

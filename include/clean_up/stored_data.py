"""Uploads that no build finishes any more, and old dataset versions that nothing refers to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from include.clean_up.findings import Finding
from include.datasets.layout import VersionLayout
from include.datasets.version import DatasetVersion, find
from include.deployment.registry import read_model
from include.evaluation.held_out_answers import KEPT as KEPT_ANSWERS
from include.sagemaker.api import TRAINING, TRANSFORM, TUNING, pages_of
from include.sagemaker.naming import tags_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.settings import Settings

PREDICTIONS = "predictions/"
BUILT = ("datasets/", "unpacked/")


def unfinished_uploads(s3: S3Client, bucket: str, *, older_than: timedelta) -> Iterator[Finding]:
    """Multipart uploads of builds that have not grown for so long that no build continues them.

    S3 bills their parts. What counts is the newest of the upload's beginning, its parts, and its version's beginning.
    """
    before = datetime.now(UTC) - older_than
    for prefix in BUILT:
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            for upload in page.get("Uploads", []):
                key, touched = upload["Key"], upload["Initiated"]
                if touched < before:
                    touched = _last_touched(s3, bucket, key, upload["UploadId"], touched)
                if touched < before:
                    abort = partial(s3.abort_multipart_upload, Bucket=bucket, Key=key, UploadId=upload["UploadId"])
                    yield Finding("unfinished upload", key, f"unchanged since {touched:%Y-%m-%d %H:%M} UTC", abort)


def failed_predictions(s3: S3Client, bucket: str, *, older_than: timedelta) -> Iterator[Finding]:
    """The packed images that a run of `predict_images` has left behind, which removes them when it succeeds.

    The images of a question that a person asked on a page lie there too. The newest of them has to be so old that no
    run continues with them.
    """
    before = datetime.now(UTC) - older_than
    for run in _folders(s3, bucket, PREDICTIONS):
        prefix = f"{PREDICTIONS}{run}/images/"
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        images = [(entry["Key"], entry["LastModified"]) for page in pages for entry in page.get("Contents", [])]
        if images and max(written for _, written in images) < before:
            why = f"{len(images)} images of predictions that did not succeed, or of an old question"
            delete = partial(_delete_objects, s3, bucket, [key for key, _ in images])
            yield Finding("packed images", prefix, why, delete)


def old_versions(
    s3: S3Client, sagemaker: SageMakerClient, *, settings: Settings, keep: int | None, older_than: timedelta
) -> Iterator[Finding]:
    """Published versions beyond the newest `keep` of their dataset that nothing refers to; none if `keep` is None.

    Referred to are those of registered models whatever their approval, those that a running job reads, and the parent
    of every version that stays. A version younger than `older_than` stays: between two jobs of its run nothing refers
    to it. One that is being built has no dataset.json yet and is not considered.
    """
    if keep is None:
        return
    before = datetime.now(UTC) - older_than
    by_dataset: dict[str, list[DatasetVersion]] = defaultdict(list)
    for version in _published(s3, settings.data_bucket):
        by_dataset[version.name].append(version)
    needed = _of_registered_models(sagemaker, settings) | _of_running_jobs(sagemaker, settings)
    for versions in by_dataset.values():
        versions.sort(key=lambda version: version.version, reverse=True)
        staying = [
            version
            for place, version in enumerate(versions)
            if place < keep or version.created > before or version.uri in needed
        ]
        stay = {version.uri for version in staying} | {version.parent for version in staying}
        for version in versions:
            if version.uri not in stay:
                why = f"not among the newest {keep}, and nothing refers to it"
                delete = partial(_delete, s3, settings, version)
                yield Finding("dataset version", f"{version.name}/{version.version}", why, delete)


def _last_touched(s3: S3Client, bucket: str, key: str, upload_id: str, initiated: datetime) -> datetime:
    pages = s3.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload_id)
    moments = [initiated, *(part["LastModified"] for page in pages for part in page.get("Parts", []))]
    _, name, version = f"{key}//".split("/")[:3]
    began = VersionLayout(bucket, name, version).began
    return max([*moments, began] if began else moments)


def _published(s3: S3Client, bucket: str) -> Iterator[DatasetVersion]:
    for name in _folders(s3, bucket, "datasets/"):
        for version in _folders(s3, bucket, f"datasets/{name}/"):
            found = find(s3, VersionLayout(bucket, name, version))
            if found is not None:
                yield found


def _folders(s3: S3Client, bucket: str, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    return [entry["Prefix"][len(prefix) : -1] for page in pages for entry in page.get("CommonPrefixes", [])]


def _of_registered_models(sagemaker: SageMakerClient, settings: Settings) -> set[str]:
    groups = pages_of(
        sagemaker,
        "list_model_package_groups",
        "ModelPackageGroupSummaryList",
        NameContains=settings.registry_group_prefix,
    )
    uris = set()
    for group in list(groups):
        packages = pages_of(
            sagemaker,
            "list_model_packages",
            "ModelPackageSummaryList",
            ModelPackageGroupName=group["ModelPackageGroupName"],
        )
        for package in list(packages):
            try:
                uris.add(read_model(sagemaker, package["ModelPackageArn"]).dataset_uri)
            except ValueError:
                continue  # another tool registered it, from other data
    return uris


def _of_running_jobs(sagemaker: SageMakerClient, settings: Settings) -> set[str]:
    versions = set()
    for kind in (TRAINING, TUNING, TRANSFORM):
        running = pages_of(sagemaker, kind.list, kind.summaries, StatusEquals="InProgress")
        for job in list(running):
            versions.add(tags_of(sagemaker, job[kind.arn_field]).get("dataset-version"))
    return {f"s3://{settings.data_bucket}/datasets/{version}/" for version in versions if version}


def _delete_objects(s3: S3Client, bucket: str, keys: list[str]) -> None:
    for key in keys:
        s3.delete_object(Bucket=bucket, Key=key)


def _delete(s3: S3Client, settings: Settings, version: DatasetVersion) -> None:
    """Delete dataset.json first: without it the version does not exist, whatever is left of it.

    The answers that models have given for its test images go with it.
    """
    layout = VersionLayout.of_uri(version.uri)
    s3.delete_object(Bucket=layout.bucket, Key=layout.document)
    answers = f"{KEPT_ANSWERS}{version.name}/{version.version}/"
    for bucket, prefix in ((layout.bucket, layout.prefix), (settings.output_bucket, answers)):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        _delete_objects(s3, bucket, [entry["Key"] for page in pages for entry in page.get("Contents", [])])

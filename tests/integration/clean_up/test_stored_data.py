from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from include.clean_up.findings import Finding, carry_out
from include.clean_up.stored_data import failed_predictions, old_versions, unfinished_uploads
from include.settings import Settings
from tests.support.documents import dataset_version
from tests.support.local_aws import BUCKET, ROLE, training_request

A_MONTH = timedelta(days=30)
SETTINGS = Settings(data_bucket=BUCKET, output_bucket=BUCKET, execution_role_arn=ROLE, region="us-east-1")


def publish(s3: Any, name: str, version: str, parent: str | None = None) -> str:
    uri = f"s3://{BUCKET}/datasets/{name}/{version}/"
    document = dataset_version().model_copy(update={"name": name, "version": version, "uri": uri, "parent": parent})
    s3.put_object(Bucket=BUCKET, Key=f"datasets/{name}/{version}/train/train.rec", Body=b"records")
    s3.put_object(
        Bucket=BUCKET, Key=f"datasets/{name}/{version}/dataset.json", Body=document.model_dump_json().encode()
    )
    return uri


def keys(s3: Any, prefix: str) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def clean_up(
    s3: Any, sagemaker: Any, name: str, keep: int | None, *, dry_run: bool = False, older_than: timedelta = A_MONTH
) -> dict[str, str]:
    found = old_versions(s3, sagemaker, settings=SETTINGS, keep=keep, older_than=older_than)
    mine = [version for version in found if version.name.startswith(f"{name}/")]
    return {row.name: row.outcome for row in carry_out(mine, done="deleted", dry_run=dry_run)}


def test_old_versions_are_deleted_only_when_asked_and_parents_and_those_in_use_stay(s3: Any, sagemaker: Any) -> None:
    name = f"pets-{uuid4().hex[:8]}"
    publish(s3, name, "1-forgotten")
    publish(s3, name, "2-in-use")
    parent = publish(s3, name, "3-parent")
    publish(s3, name, "4-newest", parent)
    tags = [{"Key": "dataset-version", "Value": f"{name}/2-in-use"}]
    job = f"reads-{uuid4().hex[:8]}"
    for version in ("1-forgotten", "4-newest"):
        s3.put_object(Bucket=BUCKET, Key=f"answers/{name}/{version}/a-model/predictions.parquet", Body=b"answers")
    sagemaker.create_training_job(**training_request(job, HyperParameters={"seconds": "60"}, Tags=tags))

    assert clean_up(s3, sagemaker, name, None) == {}
    assert clean_up(s3, sagemaker, name, 1, dry_run=True)[f"{name}/1-forgotten"] == "would be deleted"
    assert clean_up(s3, sagemaker, name, 1) == {f"{name}/1-forgotten": "deleted"}

    assert keys(s3, f"datasets/{name}/1-forgotten/") == []
    assert {key.split("/")[2] for key in keys(s3, f"datasets/{name}/")} == {"2-in-use", "3-parent", "4-newest"}
    assert keys(s3, f"answers/{name}/") == [f"answers/{name}/4-newest/a-model/predictions.parquet"]
    sagemaker.stop_training_job(TrainingJobName=job)


def test_a_version_that_a_run_may_be_about_to_train_with_stays(s3: Any, sagemaker: Any) -> None:
    name = f"pets-{uuid4().hex[:8]}"
    publish(s3, name, "1-between-two-jobs")
    publish(s3, name, "2-newest")
    age = datetime.now(UTC) - dataset_version().created

    assert clean_up(s3, sagemaker, name, 1, older_than=age + timedelta(days=1)) == {}
    assert clean_up(s3, sagemaker, name, 1) == {f"{name}/1-between-two-jobs": "deleted"}


def test_the_version_of_a_registered_model_stays(s3: Any, sagemaker: Any) -> None:
    name = f"pets-{uuid4().hex[:8]}"
    uri = publish(s3, name, "1-registered")
    publish(s3, name, "2-newest")
    group = SETTINGS.registry_group(name)
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    facts = {"training-job": "job", "dataset": name, "dataset-version": "1-registered", "dataset-uri": uri}
    image = "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1"
    s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=b"")
    sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Rejected",
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        CustomerMetadataProperties=facts,
    )

    assert clean_up(s3, sagemaker, name, 1) == {}


def test_uploads_that_no_build_finishes_are_given_up(s3: Any) -> None:
    fresh = f"datasets/pets/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-0badcafe/train/train.rec"
    old = "datasets/pets/20240102T030405Z-0badcafe/train/train.rec"
    growing = "datasets/pets/20240102T030405Z-0badcafe/test/test.rec"
    for key in (fresh, old, growing, "elsewhere/by/hand"):
        s3.create_multipart_upload(Bucket=BUCKET, Key=key)
    upload = next(one for one in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"] if one["Key"] == growing)
    s3.upload_part(Bucket=BUCKET, Key=growing, UploadId=upload["UploadId"], PartNumber=1, Body=b"records")

    found = unfinished_uploads(s3, BUCKET, older_than=timedelta(hours=48))

    assert [(row.name, row.outcome) for row in carry_out(found, done="given up", dry_run=False)] == [(old, "given up")]
    left = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert {one["Key"] for one in left} == {fresh, growing, "elsewhere/by/hand"}


def test_packed_images_of_failed_predictions_are_deleted_when_no_run_continues_with_them(s3: Any) -> None:
    run = f"manual-{uuid4().hex[:8]}"
    left = [f"predictions/{run}/images/{number:010d}.jpg" for number in range(3)]
    for key in (*left, f"predictions/{run}/plan/00000.parquet"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"bytes")

    def found(older_than: timedelta) -> list[Finding]:
        mine = failed_predictions(s3, BUCKET, older_than=older_than)
        return [finding for finding in mine if run in finding.name]

    assert found(timedelta(hours=48)) == [], "a run may still go on with them"
    (finding,) = found(timedelta(seconds=-5))
    assert (finding.name, finding.why) == (
        f"predictions/{run}/images/",
        "3 images of predictions that did not succeed, or of an old question",
    )
    (outcome,) = carry_out([finding], done="deleted", dry_run=False)
    assert outcome.outcome == "deleted"
    assert keys(s3, f"predictions/{run}/") == [f"predictions/{run}/plan/00000.parquet"]

"""Nothing that a request names becomes a path outside its folder."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.account import Aws, Server
from local_aws.aws_errors import AwsError
from local_aws.callers import check_caller, is_region
from local_aws.calls import Signature
from local_aws.container_images import ContainerImages
from local_aws.job_slots import JobSlots
from local_aws.safe_paths import OutsideError, inside
from local_aws.sagemaker.core.model_artifacts import UnusableArchiveError, unpack_archive
from local_aws.sagemaker.training.rules import check_training_job
from tests.local_aws.test_callers import SIGNED
from tests.support.local_aws import BUCKET, RunningLocalAws, finished_job, training_request

HOSTILE = [
    "/somewhere",
    "../outside",
    "..",
    ".",
    "a/../../b",
    "",
    "1234567890123",
    "12345678901",
    "\uff11" * 12,
]
NAMES = st.text(st.sampled_from("./\\ab\0\ud800-1é"), max_size=8)


@given(names=st.lists(NAMES, min_size=1, max_size=4))
def test_a_path_is_inside_its_folder_or_refused(names: list[str]) -> None:
    try:
        path = inside(Path("/folder"), *names)
    except OutsideError:
        return
    assert path.resolve().is_relative_to("/folder")
    assert path != Path("/folder")


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path)
    with pytest.raises(OutsideError, match="leads out of its folder"):
        inside(tmp_path / "folder", "link/file")


@given(account=NAMES, region=NAMES, name=NAMES)
def test_the_folder_of_a_resource_is_below_the_state_directory(account: str, region: str, name: str) -> None:
    server = Server("http://127.0.0.1:1", Path("/state"), JobSlots(1), ContainerImages({}))
    try:
        folder = Aws(server, account, region).directory("training-jobs", name)
    except OutsideError:
        return
    assert folder.is_relative_to("/state")


@pytest.mark.parametrize("region", ["eu-central-1", "us-gov-west-1", "cn-north-1", "ap-southeast-7", "aws-global"])
def test_regions_of_every_partition_are_known(region: str) -> None:
    assert is_region(region)


@pytest.mark.parametrize("region", ["..", "/tmp", "us-east-1/..", "us-east-1\n", "us-éast-1", f"us-{'x' * 300}-1", "x"])
def test_what_cannot_be_a_region_is_refused_in_the_words_of_the_service(region: str) -> None:
    assert not is_region(region)
    for service, code in (("sagemaker", "InvalidSignatureException"), ("s3", "AuthorizationHeaderMalformed")):
        with pytest.raises(AwsError, match=code):
            check_caller({}, Signature(service, region, "key"))


def post(url: str, account: str | None = None, region: str = "us-east-1", key: str = "tests") -> int:
    """Create a training job on the wire, and return the HTTP status."""
    scope = SIGNED.format("sagemaker").replace("us-east-1", region).replace("=tests/", f"={key}/")
    headers = {"X-Amz-Target": "SageMaker.CreateTrainingJob", "Authorization": scope}
    if account is not None:
        headers["X-Moto-Account-Id"] = account
    body = json.dumps(training_request("victim")).encode()
    try:
        return int(urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers)).status)
    except urllib.error.HTTPError as refused:
        return refused.code


@pytest.fixture
def victim(local_aws: RunningLocalAws) -> Path:
    """A file of somebody else where a job of a hostile account would clean up."""
    folder = local_aws.state_dir.parent / "outside/us-east-1/training-jobs/victim"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "precious").write_text("kept")
    return folder / "precious"


@pytest.mark.parametrize("account", [name for name in HOSTILE if name.isascii()])
def test_an_account_is_twelve_digits(local_aws: RunningLocalAws, s3: Any, victim: Path, account: str) -> None:
    assert post(local_aws.url, account) == 400
    assert post(local_aws.url, str(victim.parents[2])) == 400
    assert victim.read_text() == "kept"


@pytest.mark.parametrize("region", ["..", "moon-1", "us-east-1 ", "%2e%2e"])
def test_a_region_is_one_that_aws_could_have(local_aws: RunningLocalAws, s3: Any, region: str) -> None:
    assert post(local_aws.url, region=region) == 403


def test_the_account_of_an_assumed_role_is_checked_too(local_aws: RunningLocalAws, s3: Any) -> None:
    role = local_aws.client("sts").assume_role(RoleArn="arn:aws:iam::777:role/x", RoleSessionName="hostile")
    assert post(local_aws.url, key=role["Credentials"]["AccessKeyId"]) == 400


@pytest.mark.parametrize(
    "path",
    ["/opt/ml//etc", "/opt/ml/a/../../etc", "/opt/ml/./model", "/opt/ml/model/x", "/opt/ml/", "/etc", "/opt/ml//"],
)
def test_checkpoints_stay_below_opt_ml(path: str) -> None:
    request = training_request("x", CheckpointConfig={"S3Uri": f"s3://{BUCKET}/c", "LocalPath": path})
    with pytest.raises(AwsError, match="LocalPath"):
        check_training_job(request)


@pytest.mark.parametrize("key", ["a/../../../x", "./x", "a//b", "..gz", "...gz", "a/..gz"])
def test_a_key_that_would_leave_its_channel_fails_the_job(sagemaker: Any, s3: Any, key: str) -> None:
    name = f"leaving-{key.encode().hex()}"
    s3.put_object(Bucket=BUCKET, Key=f"{name}/{key}", Body=gzip.compress(b"x"))
    request = training_request(name, channel=f"{name}/")
    request["InputDataConfig"][0]["CompressionType"] = "Gzip"
    sagemaker.create_training_job(**request)
    job = finished_job(sagemaker, name)
    assert (job["TrainingJobStatus"], job["FailureReason"][:24]) == ("Failed", "ClientError: the key of ")


def archive(member: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as members:
        members.addfile(tarfile.TarInfo(member), io.BytesIO())
    return packed.getvalue()


@pytest.mark.parametrize("member", ["../x", "/etc/x", "a/../../x", "./../x"])
def test_a_member_of_a_model_archive_stays_inside(tmp_path: Path, member: str) -> None:
    packed = archive(member)
    with pytest.raises(UnusableArchiveError, match="outside"):
        unpack_archive(io.BytesIO(packed), len(packed), tmp_path / "model")
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize("member", ["./model.params", "a/b", "a//b", "a..b"])
def test_usual_members_of_a_model_archive_pass(tmp_path: Path, member: str) -> None:
    packed = archive(member)
    (tmp_path / "model").mkdir()
    unpack_archive(io.BytesIO(packed), len(packed), tmp_path / "model")
    assert (tmp_path / "model" / member).exists()

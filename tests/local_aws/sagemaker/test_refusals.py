"""What docs/reference/local-aws.md says is refused by name, and what it says of files and of tuned jobs."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_aws.account import Aws, Server
from local_aws.aws_errors import AwsError
from local_aws.container_images import ContainerImages
from local_aws.job_slots import JobSlots
from local_aws.sagemaker.control_plane import SageMaker
from local_aws.sagemaker.core.model_artifacts import UnusableArchiveError, plain_member
from local_aws.sagemaker.hosting import rules as hosting_rules
from local_aws.sagemaker.registry.api import ModelRegistry
from local_aws.sagemaker.training import run
from local_aws.sagemaker.transform.rules import check_transform_job
from local_aws.sagemaker.tuning import rules as tuning_rules
from local_aws.sagemaker.tuning.run import training_request
from local_aws.storage import S3Location
from tests.support.local_aws import BUCKET, ROLE, TOY_IMAGE, eventually

VARIANT = {"VariantName": "a", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
SOURCE = {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/x"}}}


def config(**changes: Any) -> None:
    hosting_rules.check_endpoint_config({"ProductionVariants": [VARIANT], **changes})


def variant(**changes: Any) -> None:
    hosting_rules.check_endpoint_config({"ProductionVariants": [{**VARIANT, **changes}]})


def container(**changes: Any) -> None:
    hosting_rules.containers({"PrimaryContainer": {"Image": TOY_IMAGE, **changes}})


def transform(**changes: Any) -> None:
    source = {**SOURCE, **changes.pop("TransformInput", {})}
    check_transform_job({"TransformInput": source, "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/o"}, **changes})


def direct(mode: str) -> None:
    execution = {"InferenceExecutionConfig": {"Mode": mode}}
    hosting_rules.containers({"Containers": [{"Image": TOY_IMAGE}, {"Image": TOY_IMAGE}], **execution})


REFUSED: dict[str, Callable[[], None]] = {
    "ShadowProductionVariants": lambda: config(ShadowProductionVariants=[VARIANT]),
    "ExplainerConfig": lambda: config(ExplainerConfig={}),
    "InstancePools": lambda: variant(InstancePools=[{}]),
    "ManagedInstanceScaling": lambda: variant(ManagedInstanceScaling={"Status": "ENABLED"}),
    "MultiModel": lambda: container(Mode="MultiModel"),
    "InferenceExecutionConfig.Mode Direct": lambda: direct("Direct"),
    "SplitType RecordIO": lambda: transform(TransformInput={"SplitType": "RecordIO"}),
    "SplitType TFRecord": lambda: transform(TransformInput={"SplitType": "TFRecord"}),
    "DataProcessing": lambda: transform(DataProcessing={"InputFilter": "$.a"}),
    "Autotune": lambda: tuning_rules.check_config(
        {"HyperParameterTuningJobConfig": {}, "Autotune": {"Mode": "Enabled"}}, []
    ),
}


@pytest.mark.parametrize("feature", REFUSED)
def test_what_is_not_local_is_refused_by_its_name(feature: str) -> None:
    with pytest.raises(AwsError, match=rf"{feature}.* is not available in the local AWS"):
        REFUSED[feature]()


def test_an_inference_component_is_refused_by_name() -> None:
    with pytest.raises(AwsError, match=r"inference component.* is not available in the local AWS"):
        hosting_rules.check_endpoint_config({"ProductionVariants": [{"VariantName": "a"}]})


@pytest.mark.parametrize("feature", ["ValidationSpecification", "SourceAlgorithmSpecification"])
def test_what_the_registry_lacks_is_refused_by_name(tmp_path: Path, feature: str) -> None:
    aws = Aws(Server("http://127.0.0.1:1", tmp_path, JobSlots(1), ContainerImages({})), "123456789012", "us-east-1")
    given = {
        "ValidationSpecification": {"ValidationRole": ROLE, "ValidationProfiles": []},
        "SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "a"}]},
    }
    request = {"ModelPackageName": "p", feature: given[feature]}
    try:
        with pytest.raises(AwsError, match=f"{feature} is not available in the local AWS"):
            SageMaker(aws).area(ModelRegistry).create(request)
    finally:
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_in_a_model_archive_fails_the_endpoint(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("model.params")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(UnusableArchiveError, match="neither a file nor a folder"):
        plain_member(member, tmp_path)


def test_every_tuned_job_has_a_checkpoint_prefix_of_its_own() -> None:
    document = {"AlgorithmSpecification": {}, "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/c/", "LocalPath": "/x"}}
    places = [training_request(name, document, {}, [])["CheckpointConfig"] for name in ("tune-001", "tune-002")]
    assert places == [
        {"S3Uri": f"s3://{BUCKET}/c/tune-001", "LocalPath": "/x"},
        {"S3Uri": f"s3://{BUCKET}/c/tune-002", "LocalPath": "/x"},
    ]


def test_checkpoints_are_copied_while_the_job_runs(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.SYNC_SECONDS == 5
    monkeypatch.setattr(run, "SYNC_SECONDS", 0.05)
    sync = run.CheckpointSync(s3, tmp_path, S3Location(BUCKET, "while-it-runs"))
    sync.start()
    (tmp_path / "epoch-1").write_text("half way")
    try:
        eventually(lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="while-it-runs/").get("KeyCount"))
    finally:
        sync.close()
    assert s3.get_object(Bucket=BUCKET, Key="while-it-runs/epoch-1")["Body"].read() == b"half way"

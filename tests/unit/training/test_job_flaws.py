from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from include.sagemaker.job_results import JobResult
from include.training.job_flaws import holds_files, job_flaws
from tests.support.archives import tar_of

ARTIFACT = "s3://models-of-acme/jobs/mine/output/model.tar.gz"
SCRIPT = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": '"s3://code/1a2b/sourcedir.tar.gz"'}


class Stored:
    """S3 with one object, or with an error in its place."""

    def __init__(self, body: bytes = b"", *, error: str = "", keys: int = 0) -> None:
        self.body = body
        self.error = error
        self.keys = keys

    def get_object(self, **_: str) -> dict[str, Any]:
        if self.error:
            raise ClientError({"Error": {"Code": self.error, "Message": "no"}}, "GetObject")
        return {"Body": StreamingBody(io.BytesIO(self.body), len(self.body))}

    def list_objects_v2(self, **_: Any) -> dict[str, Any]:
        return {"KeyCount": self.keys}


def folder(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


def described(*, sent: dict[str, str] | None = None, metrics: list[dict[str, str]] | None = None) -> dict[str, Any]:
    algorithm = {"TrainingImage": "acme/train:1", **({"MetricDefinitions": metrics} if metrics else {})}
    return {"AlgorithmSpecification": algorithm, "HyperParameters": sent or {}}


def result(value: float | None = None, artifact: str | None = ARTIFACT) -> JobResult:
    return JobResult(name="mine", status="Completed", role="base", value=value, artifact=artifact)


@pytest.mark.parametrize(
    ("stored", "holds"),
    [
        (Stored(tar_of({"model.pt": b"weights"})), True),
        (Stored(tar_of({"code/inference.py": b""}, mode="w")), True),
        (Stored(tar_of({})), False),
        (Stored(tar_of({}, others=[folder("."), folder("./code")])), False),
        (Stored(b""), False),
        (Stored(b"not an archive" * 100), False),
        (Stored(tar_of({"model.pt": b"weights" * 99})[:20]), False),
        (Stored(error="NoSuchKey"), False),
        (Stored(error="AccessDenied"), True),
    ],
)
def test_an_archive_holds_a_model_if_it_has_a_file(stored: Any, holds: bool) -> None:
    assert holds_files(stored, ARTIFACT) is holds


def test_an_artifact_that_is_not_packed_holds_what_lies_below_its_prefix() -> None:
    prefix = "s3://models-of-acme/jobs/mine/output/model/"

    assert holds_files(Stored(keys=1), prefix)  # type: ignore[arg-type]
    assert not holds_files(Stored(keys=0), prefix)  # type: ignore[arg-type]


def test_a_script_that_left_nothing_is_named_with_what_was_expected() -> None:
    metric = {"Name": "validation:accuracy", "Regex": "acc=([0-9.]+)"}
    model, objective = job_flaws(Stored(tar_of({})), described(sent=SCRIPT, metrics=[metric]), result())  # type: ignore[arg-type]

    assert model == (
        f"train.py of s3://code/1a2b/sourcedir.tar.gz left no model in /opt/ml/model: {ARTIFACT} has no file. Write "
        "the model there (in script mode the variable SM_MODEL_DIR names the folder) before the program ends."
    )
    assert objective.startswith(
        "train.py of s3://code/1a2b/sourcedir.tar.gz printed no validation:accuracy: the regular expression "
        "acc=([0-9.]+) finds a number in none of its lines. Print such a line after each epoch"
    )


def test_a_container_that_defines_no_metric_is_named_by_its_image() -> None:
    (objective,) = job_flaws(Stored(tar_of({"a": b"b"})), described(), result())  # type: ignore[arg-type]

    assert objective.startswith("acme/train:1 reports no validation:accuracy")


def test_a_job_with_a_model_and_an_objective_has_no_flaw() -> None:
    assert job_flaws(Stored(tar_of({"a": b"b"})), described(), result(0.5)) == []  # type: ignore[arg-type]

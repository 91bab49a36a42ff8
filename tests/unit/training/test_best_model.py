from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult, Part
from include.training.best_model import NoUsableJobError, better_of, contenders, holds_files, job_flaws, select_best
from include.training.run_jobs import RunJob
from tests.support.archives import tar_of

ARTIFACT = "s3://models-of-acme/jobs/mine/output/model.tar.gz"
SCRIPT = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": '"s3://code/1a2b/sourcedir.tar.gz"'}


def job(name: str, accuracy: float | None, *, part: Part = "base", **changes: Any) -> RunJob:
    """A completed job whose weights have an accuracy, whatever AWS reports."""
    given: dict[str, Any] = {
        "name": name,
        "status": "Completed",
        "role": "tuning" if part == "tuning" else "base",
        "value": accuracy,
        "metrics": {"validation:accuracy": 0.999},
        "artifact": f"s3://models-of-acme/jobs/{name}/output/model.tar.gz",
        "billable_seconds": 100,
    }
    tuning_job = "tune-1" if part == "tuning" else None
    return RunJob(JobResult.model_validate({**given, **changes}), part, tuning_job=tuning_job)


def test_the_best_job_is_the_one_with_the_highest_objective() -> None:
    selected = select_best([job("tune-1-001", 0.8, part="tuning"), job("tune-1-002", 0.9, part="tuning")])

    best = selected.best
    assert (best.job, best.value, best.tuning_job) == ("tune-1-002", 0.9, "tune-1")
    assert best.artifact == "s3://models-of-acme/jobs/tune-1-002/output/model.tar.gz"
    assert [ranked.result.name for ranked in selected.ranked] == ["tune-1-002", "tune-1-001"]
    assert best.reason == "the highest validation:accuracy: 0.9000, then tune-1-001 with 0.8000"


def test_a_plain_job_competes_with_a_tuning_job() -> None:
    best = select_best([job("plain", 0.95), job("tune-1-001", 0.8, part="tuning")]).best
    assert (best.job, best.tuning_job) == ("plain", None)


def test_equal_jobs_are_told_apart_by_what_they_cost() -> None:
    jobs = [
        job("dearer", 0.9, billable_seconds=501),
        job("dear", 0.9, billable_seconds=500),
        job("worse", 0.8, billable_seconds=5),
    ]
    selected = select_best(jobs)
    assert [ranked.result.name for ranked in selected.ranked] == ["dear", "dearer", "worse"]
    assert selected.best.reason == (
        "validation:accuracy 0.9000 as 2 jobs have it, and the cheapest of them: 500 billable seconds, "
        "then dearer with 501"
    )


def test_two_machines_cost_twice_as_much_as_one() -> None:
    pair = [job("two", 0.9, billable_seconds=60, instance_count=2), job("one", 0.9, billable_seconds=100)]
    assert select_best(pair).best.job == "one"


def test_equal_jobs_of_equal_cost_are_told_apart_by_name() -> None:
    best = select_best([job("b", 0.9), job("a", 0.9)]).best
    assert (best.job, best.reason) == ("a", "validation:accuracy 0.9000 at the same cost as b: the first by name")


def test_jobs_that_cannot_be_used_are_named() -> None:
    selected = select_best(
        [
            job("failed", 0.99, status="Failed", failure_reason="AlgorithmError: out of memory"),
            job("good", 0.5),
            job("silent", None),
            job("lost", 0.99, artifact=None),
            job("stopped", 0.99, status="Stopped"),
        ]
    )
    assert (selected.best.job, selected.best.reason) == (
        "good",
        "validation:accuracy 0.5000, the only usable one of 5 jobs",
    )
    assert [(skip.job, skip.reason) for skip in selected.skipped] == [
        ("failed", "Failed: AlgorithmError: out of memory"),
        ("silent", "reports no validation:accuracy"),
        ("lost", "left no artifact"),
        ("stopped", "Stopped"),
    ]


def test_the_epoch_of_the_best_weights_is_told() -> None:
    best = select_best([job("high", 1.0, kept_epoch=5), job("late", 0.95, kept_epoch=6, billable_seconds=1)]).best
    assert (best.job, best.value) == ("high", 1.0)
    assert best.reason == "the highest validation:accuracy: 1.0000 after epoch 5, then late with 0.9500"


def test_the_only_job_there_was_is_called_so() -> None:
    assert select_best([job("plain", 0.5)]).best.reason == "validation:accuracy 0.5000, the only job"


@pytest.mark.parametrize(
    ("mode", "continue_with", "reason"),
    [
        ("both", "best", "the highest validation:accuracy: 0.9000, then tune-1-002 with 0.8000"),
        (
            "both",
            "train",
            "validation:accuracy 0.5000, the only usable one of 2 jobs; "
            "2 tuned jobs did not compete, as training.continue_with is train",
        ),
        (
            "both",
            "tune",
            "the highest validation:accuracy: 0.9000, then tune-1-002 with 0.8000; "
            "2 base jobs did not compete, as training.continue_with is tune",
        ),
    ],
)
def test_the_reason_counts_what_there_was(mode: str, continue_with: str, reason: str) -> None:
    conf = RunConf.from_conf({"training.mode": mode, "training.continue_with": continue_with})
    jobs = [
        job("plain", 0.5),
        job("lost", 0.9, status="Failed"),
        job("tune-1-001", 0.9, part="tuning"),
        job("tune-1-002", 0.8, part="tuning"),
    ]
    assert select_best(jobs, conf).best.reason == reason


def test_after_a_tuning_the_reason_names_the_search_that_did_not_compete() -> None:
    conf = RunConf.from_conf({"training.mode": "tune_then_train"})
    jobs = [job("full", 0.5, part="tuned"), job("tune-1-001", 0.9, part="tuning")]
    assert select_best(jobs, conf).best.reason == (
        "validation:accuracy 0.5000, the only job; 1 tuned job did not compete, as training.mode is tune_then_train"
    )


def test_no_usable_job_says_what_became_of_each() -> None:
    with pytest.raises(NoUsableJobError) as refused:
        select_best([job("only", 0.99, status="Failed", failure_reason="ClientError: bad batch")])
    assert str(refused.value) == (
        "No training job completed with validation:accuracy:\n"
        "  only: Failed: ClientError: bad batch\n"
        "Correct what they failed on and run again."
    )


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(NoUsableJobError, match="There is no training job to choose from"):
        select_best([])


@pytest.mark.parametrize(
    ("conf", "wanted"),
    [
        ({"training.mode": "both"}, ["plain", "tune-1-001"]),
        ({"training.mode": "both", "training.continue_with": "train"}, ["plain"]),
        ({"training.mode": "both", "training.continue_with": "tune"}, ["tune-1-001"]),
    ],
)
def test_the_run_conf_says_which_jobs_compete(conf: dict[str, Any], wanted: list[str]) -> None:
    jobs = [job("plain", 0.5), job("tune-1-001", 0.9, part="tuning")]
    assert [kept.result.name for kept in contenders(jobs, RunConf.from_conf(conf))] == wanted


@pytest.mark.parametrize(
    ("continue_with", "status", "wanted"),
    [
        ("best", "Completed", ["full"]),
        ("best", "Failed", ["full", "tune-1-001"]),
        ("train", "Failed", ["full"]),
        ("tune", "Completed", ["tune-1-001"]),
    ],
)
def test_after_a_tuning_the_full_job_goes_on_unless_it_failed_or_the_conf_says_otherwise(
    continue_with: str, status: str, wanted: list[str]
) -> None:
    conf = RunConf.from_conf({"training.mode": "tune_then_train", "training.continue_with": continue_with})
    jobs = [job("full", 0.5, part="tuned", status=status), job("tune-1-001", 0.9, part="tuning")]
    assert [kept.result.name for kept in contenders(jobs, conf)] == wanted


SAME = "s3://images-of-acme/datasets/pets/1/"


@pytest.mark.parametrize(
    ("base", "further", "ends_with"),
    [
        (0.9, 0.8, "base"),
        (0.9, 0.9, "next"),
        (0.8, 0.9, "next"),
        (0.9, float("nan"), "base"),
        (None, 0.1, "next"),
        (0.9, None, "next"),
    ],
)
def test_a_run_ends_with_the_better_of_the_base_and_what_became_of_it(
    base: float | None, further: float | None, ends_with: str
) -> None:
    selected = select_best([job("base", 0.5)]).best.model_copy(update={"value": base, "dataset_uri": SAME})

    final = better_of(selected, job("next", further, part="incremental", dataset_uri=SAME).result)

    assert final.job == ends_with
    assert final.artifact == f"s3://models-of-acme/jobs/{ends_with}/output/model.tar.gz"


@pytest.mark.parametrize("learned_from", [None, "s3://images-of-acme/datasets/pets/0/"])
def test_a_base_that_learned_from_other_images_is_left_to_the_evaluation(learned_from: str | None) -> None:
    champion = select_best([job("base", 0.9)]).best.model_copy(update={"dataset_uri": learned_from})

    assert better_of(champion, job("next", 0.1, part="incremental", dataset_uri=SAME).result).job == "next"


def test_of_a_loss_the_lowest_is_the_best() -> None:
    loss = {"objective": "Minimize validation:loss", "algorithm": "script"}
    jobs = [job("first", 0.5, **loss), job("second", 0.1, **loss), job("third", None, **loss)]

    selected = select_best(jobs)

    assert (selected.best.job, selected.best.algorithm) == ("second", "script")
    assert selected.best.reason == "the lowest validation:loss: 0.1000, then first with 0.5000"
    assert selected.skipped[0].reason == "reports no validation:loss"
    further = job("further", 0.2, dataset_uri="s3://d/", **loss).result
    base = selected.best.model_copy(update={"dataset_uri": "s3://d/"})
    assert better_of(base, further).job == "second"
    assert better_of(base, further.model_copy(update={"value": 0.05})).job == "further"


def test_models_of_different_objectives_are_left_to_the_evaluation() -> None:
    base = select_best([job("base", 0.9, dataset_uri="s3://d/")]).best
    further = job("further", 0.3, dataset_uri="s3://d/", objective="Minimize validation:loss").result

    assert better_of(base, further).job == "further"


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

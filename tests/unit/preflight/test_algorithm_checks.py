"""What is known of a script or a container before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from include.preflight import Findings
from include.preflight.algorithm_checks import (
    algorithm_notes,
    hyperparameter_problems,
    image_problems,
    own_code_problems,
    pretrained_problems,
    script_hyperparameters,
    source_findings,
)
from include.preflight.conf_checks import ignored_notes, request_problems
from include.preflight.dataset_checks import dataset_problems
from include.run_conf import RunConf
from include.training.best_model import BestModel
from tests.support.documents import BEST_MODEL, dataset_version, settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

A = "training.algorithm"
SCRIPT = {f"{A}.kind": "script"}
FOREIGN = "123456789012.dkr.ecr.us-east-1.amazonaws.com/flowers:1"


def conf(**fields: Any) -> RunConf:
    return RunConf.from_conf({**SCRIPT, **{f"{A}.{name}": value for name, value in fields.items()}})


def found(s3: S3Client, run_conf: RunConf, **changed: Any) -> Findings:
    return source_findings(s3, run_conf, settings(**changed))


def test_the_projects_own_scripts_are_there_and_begin() -> None:
    nothing: Any = None

    findings = found(nothing, conf())
    assert findings.problems == ()
    assert findings.notes[0].startswith("algorithms/pytorch has ")


def test_an_entry_point_that_is_not_in_the_source_is_named_with_what_is(s3: S3Client) -> None:
    s3.put_object(Bucket="images-of-acme", Key="mine/training.py", Body=b"")
    s3.put_object(Bucket="images-of-acme", Key="mine/requirements.txt", Body=b"# none\ntimm==1.0\n\n")

    (problem,) = found(s3, conf(source="s3://images-of-acme/mine/")).problems
    right = found(s3, conf(source="s3://images-of-acme/mine/", entry_point="training.py"), network_isolation=True)

    assert str(problem) == (
        f"{A}.entry_point = train.py: is not in s3://images-of-acme/mine/: it has training.py; name one of these; "
        "did you mean training.py?"
    )
    assert right.problems == ()
    assert right.notes[1] == (
        "the job installs 1 lines of requirements.txt with pip, which settings.network_isolation forbids"
    )


def test_a_source_that_is_not_there_is_named(s3: S3Client) -> None:
    (folder,) = found(s3, conf(source="algorithms/nowhere")).problems
    (archive,) = found(s3, conf(source="s3://images-of-acme/code/sourcedir.tar.gz")).problems
    (bucket,) = found(s3, conf(source="s3://bucket-of-nobody/mine/")).problems

    assert "is not a folder of this project" in str(folder)
    assert str(archive).endswith("is not there: upload it or correct it")
    assert "there is no such bucket" in str(bucket)


def test_hyperparameters_that_the_projects_own_scripts_do_not_have_are_named() -> None:
    assert {"network", "lr", "batch_size", "epochs"} <= {*script_hyperparameters()}
    asked = RunConf.from_conf(
        {
            **SCRIPT,
            f"{A}.hyperparameters": {"lr": 0.1, "batchsize": 32},
            "incremental.algorithm_hyperparameters": {"epoch": 3},
            "training.mode": "tune",
            "tuning.ranges": {"leraning": [1, 2]},
        }
    )

    assert [problem.field for problem in hyperparameter_problems(asked)] == [
        f"{A}.hyperparameters.batchsize",
        "incremental.algorithm_hyperparameters.epoch",
        "tuning.ranges.leraning",
    ]
    first = next(hyperparameter_problems(asked))
    assert first.remedy == (
        "is not a hyperparameter of algorithms/pytorch; did you mean batch_size?; its README lists them"
    )
    assert not list(hyperparameter_problems(conf(source="s3://acme/mine/", hyperparameters={"batchsize": 32})))


def test_an_image_that_aws_does_not_have_is_named_by_version_or_region() -> None:
    (version,) = image_problems(conf(framework_version="9.9"), settings())
    (region,) = image_problems(conf(), settings(region="eu-nowhere-1"))
    (builtin,) = image_problems(RunConf(), settings(region="eu-nowhere-1"))

    assert version.field == f"{A}.framework_version"
    assert "AWS has no pytorch-training image of version 9.9" in version.remedy
    assert (region.field, region.value) == ("settings.region", "eu-nowhere-1")
    assert "AWS offers no image classification here" in builtin.remedy
    assert not list(image_problems(conf(image="acme/torch:1", **{"inference.image": "acme/torch:1"}), settings()))


def test_an_image_of_another_region_and_a_digest_that_is_none_are_refused() -> None:
    container = RunConf.from_conf({f"{A}.kind": "container", f"{A}.image": f"{FOREIGN}@sha256:12"})

    remedies = [problem.remedy for problem in image_problems(container, settings())]
    assert remedies[0] == "SageMaker takes images of its own region, and settings.region is eu-central-1: copy it there"
    assert remedies[1].startswith("a digest is sha256: and 64 hexadecimal digits")


def test_what_is_worth_knowing_is_noted() -> None:
    line = {"sample_line": "Epoch[3] Validation-accuracy=0.93", "image": "acme/torch:1"}

    assert list(algorithm_notes(conf(**line), settings(network_isolation=True))) == [
        f"{A}.sample_line shows validation:accuracy = 0.93",
        "acme/torch:1 is not in ECR, and AWS takes images of ECR only",
        "settings.network_isolation is on: the job installs no requirements.txt and downloads nothing",
    ]


def test_fields_of_another_kind_have_no_effect_and_are_noted() -> None:
    builtin = RunConf.from_conf({f"{A}.channels": "folders", f"{A}.inference.image": "acme/torch:1"})
    script = RunConf.from_conf({**SCRIPT, "training.hyperparameters.num_layers": 50})

    assert list(algorithm_notes(builtin, settings())) == [
        f"{A}.channels = folders has no effect: {A}.kind is builtin",
        f"{A}.inference.image = acme/torch:1 has no effect: {A}.kind is builtin",
    ]
    assert f"training.hyperparameters.num_layers = 50 has no effect: {A}.kind is script" in list(ignored_notes(script))
    assert not list(algorithm_notes(RunConf(), settings()))


@pytest.mark.parametrize("kind", ["script", "container"])
def test_the_api_takes_what_would_be_sent(kind: str) -> None:
    fields = {f"{A}.kind": kind, f"{A}.image": FOREIGN, "training.mode": "both", "tuning.ranges": {"lr": [0.1, 0.2]}}

    assert not list(request_problems(RunConf.from_conf(fields), settings(), {"training"}))


def test_classes_that_cannot_be_folders_are_refused_with_the_version_in_hand() -> None:
    (problem,) = own_code_problems(conf(channels="folders"), dataset_version(labels=["a/b", "c"]), None)

    assert (problem.field, problem.value) == (f"{A}.channels", "folders")
    assert not list(own_code_problems(conf(), dataset_version(labels=["a/b", "c"]), None))


ASKED = "training.hyperparameters.use_pretrained_model"
TRIALS = {"training.trials": [{"name": "a", "hyperparameters": {"use_pretrained_model": 1}}, {"name": "b"}]}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"preset": "photographs"}, [ASKED]),
        ({ASKED: 0}, []),
        ({"preset": "photographs", ASKED: 0}, []),
        (TRIALS, ["training.trials.0.hyperparameters.use_pretrained_model"]),
        ({**TRIALS, ASKED: 1}, ["training.trials.0.hyperparameters.use_pretrained_model", ASKED]),
        ({ASKED: 1, "training.trials": [{"name": "a", "hyperparameters": {"use_pretrained_model": 0}}]}, []),
        ({**SCRIPT, ASKED: 1}, []),
        ({"training.mode": "none", "incremental.from": "champion", ASKED: 1}, []),
    ],
)
def test_imagenet_weights_that_the_installations_algorithm_lacks_are_refused(
    fields: dict[str, Any], wrong: list[str]
) -> None:
    run_conf = RunConf.from_conf(fields)
    found = list(pretrained_problems(run_conf, settings(imagenet_weights=False)))

    assert [problem.field for problem in found] == wrong
    assert {str(problem).partition(" = ")[2] for problem in found} <= {
        "1: the algorithm of this installation has no ImageNet weights (settings.imagenet_weights): set it to 0"
    }
    assert not list(pretrained_problems(run_conf, settings())), "AWS's own image has them"


def test_a_batch_of_more_images_than_there_are_is_refused() -> None:
    (problem,) = own_code_problems(conf(hyperparameters={"batch_size": 128}), dataset_version(), None)

    assert str(problem) == (f"{A}.hyperparameters.batch_size = 128: the train channel has 80 images: use at most that")


def test_a_model_of_another_kind_is_not_trained_further_and_that_is_said_before_the_job_starts() -> None:
    parent = BestModel.model_validate(BEST_MODEL)
    (problem,) = dataset_problems(conf(), dataset_version(), parent=parent)

    assert (problem.field, problem.value) == (f"{A}.kind", "script")
    assert problem.remedy.startswith("base-job was trained by builtin, and only its own kind can train a model further")
    assert not dataset_problems(conf(), dataset_version(), parent=parent.model_copy(update={"algorithm": "script"}))

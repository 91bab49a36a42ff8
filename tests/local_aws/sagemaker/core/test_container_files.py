"""Which variables of a request reach a container, which on this machine is a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.account import Aws, Server
from local_aws.container_images import ContainerImages
from local_aws.job_slots import JobSlots
from local_aws.sagemaker.core.container_files import is_steering, process_environment
from tests.support.local_aws import BUCKET, ROLE, TOY_IMAGE, training_request

STEERING = [
    *("PYTHONWARNINGS", "PYTHONSTARTUP", "PYTHONPATH", "PYTHONHOME", "PYTHONINSPECT", "PYTHONBREAKPOINT"),
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "MXNET_LIBRARY_PATH", "OMP_TOOL_LIBRARIES"),
    *(
        "TAR_OPTIONS",
        "WGETRC",
        "CURL_HOME",
        "CC",
        "CXX",
        "MAKEFLAGS",
        "RSYNC_RSH",
        "SVN_SSH",
        "SUDO_ASKPASS",
        "GIT_DIR",
    ),
    *("OMPI_MCA_plm_rsh_agent", "NCCL_NET_PLUGIN", "OPENCV_OPENCL_RUNTIME", "GTK_MODULES", "GIO_EXTRA_MODULES"),
    *("DOTNET_STARTUP_HOOKS", "ERL_FLAGS", "AWKLIBPATH", "MAGICK_CODER_MODULE_PATH", "VK_ICD_FILENAMES"),
    *("BROWSER", "PATH", "HOME", "BASH_ENV", "IFS", "NODE_OPTIONS", "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS"),
    *("GIT_SSH_COMMAND", "PAGER", "EDITOR", "GCONV_PATH", "OPENSSL_CONF", "AWS_CONFIG_FILE", "SSLKEYLOGFILE"),
]
OF_ANYBODY = ["MY_VARIABLE", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "OMP_NUM_THREADS", "MXNET_CPU_WORKER_NTHREADS"]
OF_ANYBODY += [
    "ENVIRONMENT",
    "ENV",
    "GIT_COMMIT",
    "SAGEMAKER_PROGRAM",
    "TRAINING_PATH",
    "AWS_DEFAULT_REGION",
    "R_SQUARED",
    "MPLBACKEND",
    "NCCL_DEBUG",
    "CCC",
    "CURL_TIMEOUT",
]


@pytest.mark.parametrize("name", STEERING)
def test_loaders_and_interpreters_are_not_steered_by_a_request(name: str) -> None:
    assert is_steering(name)


@pytest.mark.parametrize("name", OF_ANYBODY)
def test_other_variables_are_passed_on(name: str) -> None:
    assert not is_steering(name)


def test_what_a_container_runs_with_is_not_changed_by_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/the/servers")
    aws = Aws(Server("http://127.0.0.1:1", tmp_path, JobSlots(1), ContainerImages({})), "123456789012", "us-east-1")
    hostile = dict.fromkeys((*STEERING, "TMPDIR", "SAGEMAKER_BASE_DIR"), "hostile")

    environment = process_environment(aws, tmp_path, {**hostile, "MINE": "1", "AWS_DEFAULT_REGION": "eu-west-1"})

    assert "hostile" not in environment.values()
    assert environment["PATH"] == "/the/servers"
    assert (environment["MINE"], environment["AWS_DEFAULT_REGION"]) == ("1", "eu-west-1")


def test_a_container_has_as_many_threads_as_the_server_is_told_to_have_unless_its_job_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    aws = Aws(Server("http://127.0.0.1:1", tmp_path, JobSlots(1), ContainerImages({})), "123456789012", "us-east-1")

    assert process_environment(aws, tmp_path, {})["OMP_NUM_THREADS"] == "3"
    assert process_environment(aws, tmp_path, {"OMP_NUM_THREADS": "1"})["OMP_NUM_THREADS"] == "1"


def _training(sagemaker: Any, environment: dict[str, str]) -> None:
    sagemaker.create_training_job(**training_request("steered", Environment=environment))


def _tuning(sagemaker: Any, environment: dict[str, str]) -> None:
    request = training_request("x", Environment=environment)
    del request["TrainingJobName"]
    request["AlgorithmSpecification"] = {**request["AlgorithmSpecification"], "MetricDefinitions": [
        {"Name": "accuracy", "Regex": "accuracy=(.*)"}
    ]}  # fmt: skip
    rate = {"Name": "rate", "MinValue": "0.1", "MaxValue": "0.2"}
    sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="steered",
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "accuracy"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"ContinuousParameterRanges": [rate]},
        },
        TrainingJobDefinition=request,
    )


def _model(sagemaker: Any, environment: dict[str, str]) -> None:
    container = {"Image": TOY_IMAGE, "Environment": environment}
    sagemaker.create_model(ModelName="steered", ExecutionRoleArn=ROLE, PrimaryContainer=container)


def _packaged_model(sagemaker: Any, environment: dict[str, str]) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="steered")
    try:
        package = sagemaker.create_model_package(
            ModelPackageGroupName="steered",
            InferenceSpecification={
                "Containers": [{"Image": TOY_IMAGE, "Environment": environment}],
                "SupportedContentTypes": ["image/jpeg"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )["ModelPackageArn"]
        container = {"ModelPackageName": package}
        sagemaker.create_model(ModelName="steered", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    finally:
        for found in sagemaker.list_model_packages(ModelPackageGroupName="steered")["ModelPackageSummaryList"]:
            sagemaker.delete_model_package(ModelPackageName=found["ModelPackageArn"])
        sagemaker.delete_model_package_group(ModelPackageGroupName="steered")


def _transform(sagemaker: Any, environment: dict[str, str]) -> None:
    place = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/"}
    sagemaker.create_transform_job(
        TransformJobName="steered",
        ModelName="no-such-model",
        Environment=environment,
        TransformInput={"DataSource": {"S3DataSource": place}},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )


@pytest.mark.parametrize("create", [_training, _tuning, _model, _packaged_model, _transform])
def test_every_request_with_an_environment_is_refused_for_such_variables(
    sagemaker: Any, create: Callable[[Any, dict[str, str]], None]
) -> None:
    with pytest.raises(ClientError) as refused:
        create(sagemaker, {"MINE": "1", "PYTHONWARNINGS": "all:0:antigravity.x:0:0", "BROWSER": "touch /tmp/x #%s"})
    error = refused.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert "BROWSER" in error["Message"]
    assert "PYTHONWARNINGS" in error["Message"]
    assert "MINE" not in error["Message"]

"""The files and the environment a container finds when it starts: the contract of /opt/ml, in a folder of its own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from local_aws.account import Aws

HOST = "algo-1"
GROUP = "homogeneousCluster"
FIXED = ("PATH", "HOME", "LD_LIBRARY_PATH")
INHERITED = ("LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS")
STEERING = re.compile(
    # dynamic loaders and what libraries load by name
    r"LD_.*|DYLD_.*|.*PRELOAD.*|.*_LIBRARY_PATH|.*PLUGIN_PATH|OMP_TOOL.*|CUDA_INJECTION.*|OPENSSL_.*|SSLKEYLOGFILE"
    r"|NCCL_.*PLUGIN|OMPI_MCA_.*|PMIX_MCA_.*|OPENCV_OPENCL_RUNTIME|G(TK|IO)_(EXTRA_)?MODULE.*|MAGICK_.*PATH"
    r"|VK_(ICD|DRIVER|LAYER|ADD)_.*|OCL_ICD_.*"
    r"|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH|GETCONF_DIR|MALLOC_TRACE|HOSTALIASES"
    # interpreters
    r"|PYTHON.*|PERL.*|RUBY.*|GEM_.*|NODE_(OPTIONS|PATH|EXTRA.*)|.*JAVA.*OPTIONS|CLASSPATH|JULIA_.*|LUA_.*|PHP.*"
    r"|R_(HOME|LIBS.*|PROFILE.*|ENVIRON.*)"
    r"|DOTNET_.*|CORECLR_.*|ERL_.*|AWK(LIB)?PATH|TCLLIBPATH|GUILE_.*PATH"
    # shells, and programs that others start
    r"|PATH|HOME|SHELL|IFS|PS\d|CDPATH|BASH.*|SHELLOPTS|PROMPT_COMMAND|ZDOTDIR|FPATH|BROWSER|.*EDITOR|VISUAL"
    r"|.*PAGER|LESS.*|.*ASKPASS|.*_RSH|SVN_SSH|TAR_OPTIONS|MAKEFLAGS|CC|CXX|GIT_(DIR|SSH.*|CONFIG.*|EXEC_PATH|ASKPASS|EXTERNAL_DIFF|PROXY_COMMAND|TEMPLATE_DIR)|PIP_.*|UV_.*|NPM_.*|XDG_CONFIG.*"
    # files of configuration that may name a command
    r"|WGETRC|CURL_HOME|AWS_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE"
)
"""Variables by which a program is made to run or load something else."""
HARMLESS = frozenset(
    {"PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONDONTWRITEBYTECODE"}
    | {"PYTHONFAULTHANDLER"}
)


def write_training_inputs(base: Path, request: Mapping[str, Any]) -> None:
    """Make the folders of a training container and write hyperparameters, input data and resource configuration."""
    for folder in ("input/config", "input/data", "model", "output/data", "tmp"):
        (base / folder).mkdir(parents=True)
    documents = {
        "hyperparameters": request.get("HyperParameters", {}),
        "inputdataconfig": {
            channel["ChannelName"]: _channel(channel, request["AlgorithmSpecification"])
            for channel in request.get("InputDataConfig", [])
        },
        "resourceconfig": _resources(request["ResourceConfig"]),
    }
    for name, document in documents.items():
        (base / "input" / "config" / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")


def _channel(channel: Mapping[str, Any], algorithm: Mapping[str, Any]) -> dict[str, str]:
    source = channel["DataSource"]["S3DataSource"]
    described = {
        "TrainingInputMode": channel.get("InputMode", algorithm["TrainingInputMode"]),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    if "ContentType" in channel:
        described["ContentType"] = channel["ContentType"]
    return described


def _resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    """The resourceconfig.json of the one process that does the work of all instances."""
    groups = resources.get("InstanceGroups") or [
        {"InstanceType": resources["InstanceType"], "InstanceGroupName": GROUP}
    ]
    first = groups[0]
    return {
        "current_host": HOST,
        "current_instance_type": first["InstanceType"],
        "current_group_name": first["InstanceGroupName"],
        "hosts": [HOST],
        "instance_groups": [
            {
                "instance_group_name": first["InstanceGroupName"],
                "instance_type": first["InstanceType"],
                "hosts": [HOST],
            }
        ],
        "network_interface_name": "lo",
    }


def process_environment(aws: Aws, base: Path, given: Mapping[str, str], *, networked: bool = True) -> dict[str, str]:
    """The environment of a process whose /opt/ml is `base`: the request's variables, and what AWS adds.

    Of the server's own environment only what programs need to start is passed on; a request does not change it.
    """
    fixed = {name: os.environ[name] for name in FIXED if name in os.environ} | {
        "SAGEMAKER_BASE_DIR": str(base),
        "TMPDIR": str(base / "tmp"),
    }
    passed = {name: value for name, value in given.items() if not is_steering(name)}
    return _added_by_aws(aws, networked=networked) | passed | fixed


def image_environment(aws: Aws, given: Mapping[str, str], *, networked: bool = True) -> dict[str, str]:
    """The environment of a container in Docker, beside what its image sets: the same, but for what a process needs."""
    return _added_by_aws(aws, networked=networked) | dict(given)


def _added_by_aws(aws: Aws, *, networked: bool) -> dict[str, str]:
    added = {name: os.environ[name] for name in INHERITED if name in os.environ} | {
        "SM_NUM_CPUS": str(aws.server.slots.cpus_per_job()),
        "PYTHONUNBUFFERED": "1",
        "AWS_REGION": aws.region,
        "AWS_DEFAULT_REGION": aws.region,
    }
    if networked:
        added |= {
            "AWS_ENDPOINT_URL": aws.server.endpoint_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
    return added


def is_steering(name: str) -> bool:
    """Whether a variable would make a program run or load something else, which on this machine is nobody's job."""
    return name not in HARMLESS and STEERING.fullmatch(name) is not None


def steering_variables(given: Mapping[str, str], field: str) -> Iterator[str]:
    """Yield what is wrong with the variables of a request, which `field` names."""
    for name in sorted(filter(is_steering, given)):
        yield (
            f"{field} may not set {name} in the local AWS: a container is a process on this machine there, and this "
            f"variable decides what a process loads or runs. Set it in the command of the image: --image "
            f"'REPOSITORY=env {name}=... COMMAND'"
        )

"""The files and the environment a container finds when it starts: the contract of /opt/ml, in a folder of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_aws.sagemaker.context import Aws

HOST = "algo-1"
GROUP = "homogeneousCluster"
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")


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
    """Return resourceconfig.json of the one process that does the work of all instances."""
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


def container_environment(aws: Aws, base: Path, given: Mapping[str, str], *, networked: bool = True) -> dict[str, str]:
    """Return the environment of a container whose /opt/ml is `base`: the request's variables, and what AWS adds.

    Of the server's own environment only what programs need to start is passed on.
    """
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {
        "SAGEMAKER_BASE_DIR": str(base),
        "SM_NUM_CPUS": str(aws.server.slots.cpus_per_job()),
        "TMPDIR": str(base / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "AWS_REGION": aws.region,
        "AWS_DEFAULT_REGION": aws.region,
    }
    if networked:
        environment |= {
            "AWS_ENDPOINT_URL": aws.server.endpoint_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
    return environment | dict(given)

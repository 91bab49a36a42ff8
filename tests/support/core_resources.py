"""Uses of sagemaker-core's resources, in the SDK's environment: `core_resources.py USE RESULT ARGUMENT...`.

Each function is a use; what it returns is written to RESULT as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sagemaker.core.resources import (
    Endpoint,
    EndpointConfig,
    HyperParameterTuningJob,
    Model,
    ModelPackage,
    TrainingJob,
)
from sagemaker.core.shapes import (
    AlgorithmSpecification,
    Channel,
    ContainerDefinition,
    DataSource,
    OutputDataConfig,
    ProductionVariant,
    ResourceConfig,
    S3DataSource,
    StoppingCondition,
)


def train(name: str, image: str, role: str, source: str, output: str) -> dict[str, Any]:
    """Train on the objects below an S3 prefix, and wait."""
    job = TrainingJob.create(
        training_job_name=name,
        algorithm_specification=AlgorithmSpecification(training_image=image, training_input_mode="File"),
        role_arn=role,
        input_data_config=[
            Channel(
                channel_name="train",
                data_source=DataSource(s3_data_source=S3DataSource(s3_data_type="S3Prefix", s3_uri=source)),
            )
        ],
        output_data_config=OutputDataConfig(s3_output_path=output),
        resource_config=ResourceConfig(instance_type="ml.g5.xlarge", instance_count=1, volume_size_in_gb=5),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=60),
    )
    job.wait(poll=1)
    return {"status": job.training_job_status, "artifact": job.model_artifacts.s3_model_artifacts}


def deploy(name: str, image: str, role: str, model_data: str) -> dict[str, Any]:
    """Serve a model, wait until it is in service, and delete the endpoint."""
    container = ContainerDefinition(image=image, model_data_url=model_data)
    Model.create(model_name=name, primary_container=container, execution_role_arn=role)
    EndpointConfig.create(
        endpoint_config_name=name,
        production_variants=[
            ProductionVariant(variant_name="a", model_name=name, initial_instance_count=1, instance_type="ml.m5.large")
        ],
    )
    endpoint = Endpoint.create(endpoint_name=name, endpoint_config_name=name)
    endpoint.wait_for_status("InService", poll=1, timeout=60)
    served = endpoint.production_variants[0].variant_name
    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=60)
    return {"variant": served}


def read_tuning_job(name: str) -> dict[str, Any]:
    """Wait for a tuning job, and read its training jobs."""
    job = HyperParameterTuningJob.get(hyper_parameter_tuning_job_name=name)
    job.wait(poll=1, timeout=60)
    return {
        "status": job.hyper_parameter_tuning_job_status,
        "best": job.best_training_job.training_job_name,
        "training_jobs": len(list(job.get_all_training_jobs())),
    }


def read_model_package(arn: str) -> dict[str, Any]:
    """Read a registered version."""
    package = ModelPackage.get(model_package_name=arn)
    return {
        "approval": package.model_approval_status,
        "image": package.inference_specification.containers[0].image,
    }


if __name__ == "__main__":
    use, result, *arguments = sys.argv[1:]
    Path(result).write_text(json.dumps(globals()[use](*arguments)))

"""What a job read and wrote, for OpenLineage where its provider is installed.

Sources: Airflow's provider `apache-airflow-providers-openlineage` ("Implementing OpenLineage in operators");
OpenLineage's naming of datasets in S3: namespace `s3://BUCKET`, name the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def inputs_of(description: Mapping[str, Any]) -> list[str]:
    """Addresses that a training, tuning or transform job reads."""
    definition = description.get("TrainingJobDefinition") or description
    channels = [channel["DataSource"] for channel in definition.get("InputDataConfig") or ()]
    if "TransformInput" in description:
        channels.append(description["TransformInput"]["DataSource"])
    return [channel["S3DataSource"]["S3Uri"] for channel in channels if "S3DataSource" in channel]


def outputs_of(description: Mapping[str, Any]) -> list[str]:
    """Addresses that the job wrote: the model's artifact, or the answers."""
    artifact = (description.get("ModelArtifacts") or {}).get("S3ModelArtifacts")
    answers = (description.get("TransformOutput") or {}).get("S3OutputPath")
    return [uri for uri in (artifact, answers) if uri]


def operator_lineage(inputs: list[str], outputs: list[str]) -> Any:
    """The provider's OperatorLineage of S3 addresses; None where the provider is not installed."""
    try:
        from airflow.providers.common.compat.openlineage.facet import Dataset
        from airflow.providers.openlineage.extractors import OperatorLineage  # type: ignore[import-not-found]
    except ImportError:
        return None
    return OperatorLineage(
        inputs=[Dataset(**_named(uri)) for uri in inputs], outputs=[Dataset(**_named(uri)) for uri in outputs]
    )


def _named(uri: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"namespace": f"s3://{bucket}", "name": key.rstrip("/") or "/"}

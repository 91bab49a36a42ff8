"""A folder of the project becomes a container image in ECR."""

from __future__ import annotations

from typing import Any

from airflow.sdk import task

from image_classification.context import RunningTask, asked_conf


@task(multiple_outputs=False)
def publish_image() -> dict[str, Any]:
    """Build, push and check an image; returns its address by digest, its tag, and what the scan has found.

    Raises PublishConfError for a wrong conf, and what `include.algorithms.publish` raises. No retry mends these.
    """
    from include.algorithms.publish import PublishConf, publish
    from include.sagemaker.naming import tags

    asked = PublishConf.from_conf(asked_conf())
    running = RunningTask.current()
    settings = running.settings
    published = publish(
        running.client("ecr"),
        asked.path,
        asked.repository,
        severity=asked.severity,
        scan_minutes=asked.scan_minutes,
        tags={tag["Key"]: tag["Value"] for tag in tags(settings, running.run)},
        kms_key_id=settings.kms_key_id,
    )
    running.note(f"{'Published' if published.built else 'Unchanged'}: {published.uri} ({published.scan})")
    return published.model_dump(mode="json")

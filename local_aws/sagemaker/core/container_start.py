"""Starting the container of a job or a model: in Docker where an engine has its image, as a process otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from local_aws.account import Aws
from local_aws.container_process import ContainerProcess
from local_aws.docker_engine import SERVING_PORT, DockerImage, Limits
from local_aws.sagemaker.core.container_files import image_environment, process_environment


def start_container(
    aws: Aws,
    image: str,
    verb: str,
    *,
    base: Path,
    given: Mapping[str, str],
    networked: bool,
    on_line: Callable[[str], None],
    algorithm: Mapping[str, Any] | None = None,
    port: int | None = None,
) -> ContainerProcess:
    """Start `docker run IMAGE VERB`, with `base` as its /opt/ml and the variables of a request.

    With a `port` it serves there, on loopback. Raises ContainerStartError, and ValidationException for an image that
    nothing stands for.
    """
    found = aws.server.images.runnable(image, verb, algorithm)
    if isinstance(found, DockerImage):
        # A serving container has a network of its own, from which this server's loopback port is not reached.
        environment = image_environment(aws, given, networked=networked and port is None)
        if port is not None:
            environment |= {"SAGEMAKER_BIND_TO_PORT": str(SERVING_PORT), "SAGEMAKER_BIND_TO_HOST": "0.0.0.0"}  # noqa: S104
        limits = Limits(aws.server.slots.cpus_per_job(), psutil.virtual_memory().total // aws.server.slots.count)
        return found.engine.start(
            found,
            base=base,
            environment=environment,
            limits=limits,
            networked=networked,
            on_line=on_line,
            port=port,
        )
    environment = process_environment(aws, base, given, networked=networked)
    if port is not None:
        environment |= {"SAGEMAKER_BIND_TO_PORT": str(port), "SAGEMAKER_BIND_TO_HOST": "127.0.0.1"}
    return ContainerProcess.start(found.words, env=environment, cwd=found.folder, on_line=on_line)

from __future__ import annotations

import pytest

from local_aws.container_process import ContainerStartError
from local_aws.sagemaker.core.failures import what_to_do


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("/project/.venv-mxnet/bin/python could not be started: No such file", "`make setup`, or map the image"),
        ("/project/.venv-pytorch/bin/python could not be started: No such file", "`make pytorch`, or map the image"),
        ("/bin/bash could not be started: Operation not permitted: /opt/ml of its own, which", "--cap-add SYS_ADMIN"),
        ("./mine could not be started: Permission denied", "Map the image to another command with"),
    ],
)
def test_a_container_that_cannot_be_started_says_what_to_do(error: str, remedy: str) -> None:
    assert remedy in what_to_do(ContainerStartError(error))

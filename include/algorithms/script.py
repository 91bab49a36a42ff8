"""A script in one of AWS's framework containers: what SageMaker's toolkit in it receives.

Sources: github.com/aws/sagemaker-training-toolkit, `params.py` (hyperparameters are JSON texts; `sagemaker_program`,
`sagemaker_submit_directory`); the SageMaker SDK's PyTorch estimator, whose requests a test compares; github.com/aws/
sagemaker-inference-toolkit, `environment.py`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from include.algorithms.algorithm import Request, channel
from include.algorithms.own_code import OwnCode
from include.algorithms.source_code import ARCHIVE, is_archive, pack_source
from include.sagemaker.image_uris import framework_image
from include.sagemaker.objective import CODE, PROGRAM, SUBMIT_DIRECTORY, AlgorithmKind

if TYPE_CHECKING:
    from typing import Self

    from mypy_boto3_s3 import S3Client

    from include.datasets.replay import Replay
    from include.datasets.version import DatasetVersion

CODE_IN_MODEL = "/opt/ml/model/code"
CODE_CHANNEL = f"/opt/ml/input/data/{CODE}/{ARCHIVE}"


@dataclass(frozen=True)
class Script(OwnCode):
    """A folder of Python; `packed` is the address of its archive, once it is packed."""

    packed: str = ""

    kind: ClassVar[AlgorithmKind] = "script"

    @property
    def image(self) -> str:
        """The conf's, else AWS's newest training image of the framework, for the machine's processor."""
        asked, machine = self.asked, self.conf.resources.instance_type
        if asked.image:
            return asked.image
        return framework_image(
            asked.framework, "training", self.settings.region, version=asked.framework_version, machine=machine
        )

    @property
    def inference_image(self) -> str:
        """The conf's, else AWS's inference image of the framework's version, or the newest before it."""
        asked, machine = self.asked, self.conf.endpoint.machine
        if asked.inference.image:
            return asked.inference.image
        return framework_image(
            asked.framework, "inference", self.settings.region, version=asked.framework_version, machine=machine
        )

    @property
    def content(self) -> tuple[str, ...]:
        """Its source and where that begins."""
        return (self.submitted, self.asked.entry_point)

    def prepared(self, s3: S3Client, dataset: DatasetVersion, replay: Replay | None = None) -> Self:
        """The same once its source is packed, and the class folders are there if it reads them."""
        packed = pack_source(s3, self.asked.source, bucket=self.settings.output_bucket)
        return replace(super().prepared(s3, dataset, replay), packed=packed)

    def base_hyperparameters(self, dataset: DatasetVersion | None) -> dict[str, str]:
        """The conf's; the project's own scripts also receive whether an image has several labels."""
        several = dataset is not None and dataset.multi_label and self.asked.is_of_project
        return {**({"multi_label": self.as_text(True)} if several else {}), **super().base_hyperparameters(dataset)}

    def as_text(self, value: str | bool | float) -> str:
        """Any value as JSON, as the toolkit reads it: a text has quotes."""
        return json.dumps(value)

    def data_channels(self, dataset: DatasetVersion, replay: Replay | None = None) -> list[Request]:
        """With the code as a channel where the container reaches no network: the toolkit cannot download it there."""
        code = [channel(CODE, self.submitted)] if self.settings.network_isolation else []
        return [*super().data_channels(dataset, replay), *code]

    @property
    def submitted(self) -> str:
        """The address of the archive; of one that is not packed yet, one that stands for it in checks."""
        if self.packed or is_archive(self.asked.source):
            return self.packed or self.asked.source
        return f"s3://{self.settings.output_bucket}/code/not-packed-yet/{ARCHIVE}"

    def added_hyperparameters(self, job: str) -> dict[str, str]:
        """What the toolkit receives: where the code is, and where it begins."""
        told = {
            PROGRAM: self.asked.entry_point,
            SUBMIT_DIRECTORY: CODE_CHANNEL if self.settings.network_isolation else self.submitted,
            "sagemaker_container_log_level": logging.INFO,
            "sagemaker_region": self.settings.region,
            "sagemaker_job_name": job,
        }
        return {name: json.dumps(value) for name, value in told.items()}

    def serving_environment(self) -> dict[str, str]:
        """With the code that the training left in the artifact."""
        return {
            "SAGEMAKER_PROGRAM": self.asked.inference_entry_point,
            "SAGEMAKER_SUBMIT_DIRECTORY": CODE_IN_MODEL,
            "SAGEMAKER_CONTAINER_LOG_LEVEL": str(logging.INFO),
            "SAGEMAKER_REGION": self.settings.region,
        }

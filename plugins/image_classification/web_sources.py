"""Web addresses of a run conf: what is secret in them goes into no log, no XCom and no rendered field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from airflow.sdk.log import mask_secret

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.unpacking.addresses import SourcePolicy
    from include.problems import Problem
    from include.run_conf import RunConf
    from include.settings import Settings


def source_policy(settings: Settings) -> SourcePolicy:
    """What the installation allows of sources; Airflow's masker hears of every secret in an address."""
    from include.datasets.unpacking.addresses import SourcePolicy

    return SourcePolicy.of(settings, hide=mask_secret)


def hide_queries(conf: RunConf, problems: Iterable[Problem] = ()) -> None:
    """Keep the queries of a run conf's web addresses out of this task's log, also of those that were refused."""
    from include.web_addresses import secrets_of

    known = conf.has("dataset") and conf.dataset.has("source")
    addresses = [*(conf.dataset.source if known else ()), *(problem.value for problem in problems)]
    for address in addresses:
        for secret in secrets_of(address) if isinstance(address, str) else ():
            mask_secret(secret)


def sealed_conf(s3: S3Client, conf: RunConf, data_bucket: str) -> RunConf:
    """The run conf as tasks hand it on: the queries of its web addresses are kept in S3 and leave a reference."""
    from include.datasets.unpacked import keep_queries

    dataset = keep_queries(s3, conf.dataset, data_bucket)
    return conf if dataset is conf.dataset else conf.model_copy(update={"dataset": dataset})

"""The first task of a DAG: what was asked, typed, and what can be known to be wrong before it costs money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import task

from image_classification.context import AwsAccess, asked_conf, hide_queries, read_settings, sealed_conf

if TYPE_CHECKING:
    from include.preflight import Stage


@task
def check_conf(stages: Sequence[Stage] = ("dataset", "training", "endpoint")) -> dict[str, Any]:
    """Read the run conf and check all that it needs; all problems come in one message, and nothing was started.

    `stages` are those of the DAG: what the others need is not checked. Without any, conf and settings are only read.
    What does not depend on a wrong field is checked all the same. The conf of a DAG that trains and does not deploy is
    handed on with `endpoint.deploy` off.
    """
    from include.preflight import check
    from include.problems import ProblemsError
    from include.run_conf import RunConf
    from include.web_addresses import secrets_of

    conf, conf_problems = RunConf.read(asked_conf())
    hide_queries(conf, conf_problems)
    settings, settings_problems = read_settings()
    known = [*conf_problems, *settings_problems]
    if "training" in stages and "endpoint" not in stages and conf.has("endpoint"):
        conf = conf.model_copy(update={"endpoint": conf.endpoint.model_copy(update={"deploy": False})})
    if stages:
        reachable = settings.has("region") and settings.has("aws_conn_id")
        clients = AwsAccess.of(settings).quick_clients() if reachable else None
        s3 = clients("s3") if clients else None
        check(conf, settings, s3=s3, clients=clients, stages=stages, known=known)
    elif known:
        raise ProblemsError(known)
    if any(map(secrets_of, conf.dataset.source)):
        conf = sealed_conf(AwsAccess.of(settings).client("s3"), conf, settings.data_bucket)
    return conf.model_dump(mode="json")

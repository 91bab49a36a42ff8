"""The first task of a DAG: what was asked, typed, and what can be known to be wrong before it costs money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable, get_current_context, task

from image_classification.context import AwsAccess
from image_classification.deployment_settings import VARIABLE
from image_classification.web_sources import hide_queries, sealed_conf

if TYPE_CHECKING:
    from include.preflight import Clients, Stage


@task
def check_conf(stages: Sequence[Stage] = ("dataset", "training", "endpoint")) -> dict[str, Any]:
    """Read the run conf and check all that it needs; all problems come in one message, and nothing was started.

    `stages` are those of the DAG: what the others need is not checked. Without any, conf and settings are only read.
    What does not depend on a wrong field is checked all the same.
    """
    from include.preflight import check
    from include.problems import ProblemsError
    from include.run_conf import RunConf
    from include.settings import Settings
    from include.web_addresses import secrets_of

    conf, conf_problems = RunConf.read(get_current_context()["dag_run"].conf)
    hide_queries(conf, conf_problems)
    settings, settings_problems = Settings.read(Variable.get(VARIABLE, default=None))
    known = [*conf_problems, *settings_problems]
    if stages:
        reachable = settings.has("region") and settings.has("aws_conn_id")
        clients = quick_clients(AwsAccess.of(settings)) if reachable else None
        s3 = clients("s3") if clients else None
        check(conf, settings, s3=s3, clients=clients, stages=stages, known=known)
    elif known:
        raise ProblemsError(known)
    if any(map(secrets_of, conf.dataset.source)):
        conf = sealed_conf(AwsAccess.of(settings).client("s3"), conf, settings.data_bucket)
    return conf.model_dump(mode="json")


def quick_clients(access: AwsAccess) -> Clients:
    """Clients with the deployment's connection that give up after seconds, for services a run can do without.

    They share one session, as each of its own would read botocore's tables and take on the connection's role again.
    """
    from botocore.config import Config

    from include.preflight import CLIENT_CONFIG

    hook = access.hook("s3")
    connection = hook.conn_config
    session: Any = hook.get_session()
    config = hook.config.merge(Config(**CLIENT_CONFIG))

    def client(service: str, region: str | None = None) -> Any:
        return session.client(
            service,
            region_name=region or connection.region_name,
            endpoint_url=connection.get_service_endpoint_url(service),
            verify=hook.verify,
            config=config,
        )

    return client

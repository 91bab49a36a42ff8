"""The first task of a DAG: what was asked, typed, and what can be known to be wrong before it costs money."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from image_classification.context import (
    AwsAccess,
    asked_conf,
    hide_queries,
    leave_out,
    read_settings,
    sealed_conf,
)
from image_classification.operators.deciding import deciding_task

if TYPE_CHECKING:
    from include.preflight import Stage

log = logging.getLogger(__name__)


FIND_START = "training.find_start"


@deciding_task(multiple_outputs=False)
def check_conf(stages: Sequence[Stage] = ("dataset", "training", "endpoint")) -> dict[str, Any]:
    """Read the run conf and check all that it needs; all problems come in one message, and nothing was started.

    `stages` are those of the DAG: what the others need is not checked. Without any, conf and settings are only read.
    What does not depend on a wrong field is still checked. The conf of a DAG that trains and does not deploy is
    passed on with `endpoint.deploy` off. `training.find_start` is left out if the run trains from scratch.
    """
    from include.preflight.checking import examine_run, reported
    from include.problems import ProblemsError, secrets_of
    from include.run_conf import RunConf, described

    asked = asked_conf()
    conf, conf_problems = RunConf.read(asked)
    hide_queries(conf, conf_problems)
    if filled := RunConf.by_preset(asked):
        log.info("The preset %s sets: %s.", asked.get("preset"), described(filled))
    settings, settings_problems = read_settings()
    known = [*conf_problems, *settings_problems]
    if "training" in stages and "endpoint" not in stages and conf.has("endpoint"):
        conf = conf.model_copy(update={"endpoint": conf.endpoint.model_copy(update={"deploy": False})})
    if stages:
        reachable = settings.has("region") and settings.has("aws_conn_id")
        clients = AwsAccess.of(settings).quick_clients() if reachable else None
        reported(lambda: examine_run(conf, settings, clients=clients, stages=stages, known=known))
    elif known:
        raise ProblemsError(known)
    if any(map(secrets_of, conf.dataset.source)):
        conf = sealed_conf(AwsAccess.of(settings).client("s3"), conf, settings.data_bucket)
    if conf.training.mode != "none":
        leave_out(FIND_START)
    return conf.model_dump(mode="json")

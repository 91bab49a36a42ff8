"""The first task of a DAG: what was asked, typed, and what can be known to be wrong before it costs money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable, get_current_context, task

from image_classification.aws import AwsAccess
from image_classification.deployment_settings import VARIABLE

if TYPE_CHECKING:
    from include.problems import Problem


@task(retries=0)
def check_conf(with_source: bool = True) -> dict[str, Any]:
    """Read the run conf and look at buckets and source; all problems come in one message, and nothing was started.

    `with_source` is off where the DAG reads a published dataset version instead of images.
    """
    from include.problems import ProblemsError
    from include.run_conf import RunConf
    from include.settings import Settings
    from include.training.preflight import check

    problems: list[Problem] = []
    try:
        conf = RunConf.from_conf(get_current_context()["dag_run"].conf)
    except ProblemsError as error:
        problems += error.problems
    try:
        settings = Settings.from_variable(Variable.get(VARIABLE, default=None))
    except ProblemsError as error:
        problems += error.problems
    if problems:
        raise ProblemsError(problems)
    if with_source:
        check(conf, settings, s3=AwsAccess.of(settings).client("s3"))
    return conf.model_dump(mode="json")

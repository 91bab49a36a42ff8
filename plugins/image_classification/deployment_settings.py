"""The Airflow Variable `image_classification`, read inside tasks; a DAG file reads no more of it than the queue."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable

if TYPE_CHECKING:
    from include.settings import Settings

log = logging.getLogger(__name__)

VARIABLE = "image_classification"
QUEUE_SETTINGS = ("queue_url", "region", "aws_conn_id", "poll_seconds")


def load_settings() -> Settings:
    """The deployment's settings.

    Raises AirflowFailException with everything that is missing or wrong: a retry reads the same Variable.
    """
    from airflow.sdk.exceptions import AirflowFailException

    from include.settings import Settings, SettingsError

    try:
        return Settings.from_variable(Variable.get(VARIABLE, default=None))
    except SettingsError as error:
        raise AirflowFailException(str(error)) from None


def queue_settings() -> dict[str, Any]:
    """What a DAG file needs to watch the queue, `queue_url` first; empty where no queue is set.

    Never raises: a Variable that is missing or wrong must not take the DAG out of the UI, where its tasks say
    what is wrong with it.
    """
    try:
        content = json.loads(Variable.get(VARIABLE, default=None) or "{}")
    except Exception:  # noqa: BLE001  (secrets backends raise whatever they like)
        log.warning("The Variable %s could not be read: new images are looked for on schedule only.", VARIABLE)
        return {}
    if not isinstance(content, dict) or not content.get("queue_url"):
        return {}
    return {name: content[name] for name in QUEUE_SETTINGS if name in content}

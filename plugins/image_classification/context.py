"""What a running task works with: its run, the installation's settings, AWS clients, and what must stay out of logs.

The settings are the Airflow Variable `image_classification`, read inside tasks; a DAG file reads no more of it than the
queue and the times of schedules.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable, get_current_context
from airflow.sdk.bases.skipmixin import XCOM_SKIPMIXIN_KEY, XCOM_SKIPMIXIN_SKIPPED
from airflow.sdk.log import mask_secret

from include.sagemaker.naming import Run

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from airflow.sdk import Context, CronTriggerTimetable
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client

    from include.datasets.unpacking.addresses import SourcePolicy
    from include.preflight import Clients
    from include.problems import Problem
    from include.retraining import RunState
    from include.run_conf import RunConf
    from include.settings import Settings

log = logging.getLogger(__name__)

VARIABLE = "image_classification"
UNFINISHED = ["queued", "running"]
NOTE = "image_classification_note"
"""Under which name a task passes on the run's note; the plugin `run_notes` knows it too."""
QUEUE_SETTINGS = ("queue_url", "region", "aws_conn_id", "poll_seconds")


@dataclass(frozen=True)
class RunningTask:
    """A running task: `airflow` is Airflow's own context of it, `settings` are the installation's."""

    airflow: Context
    settings: Settings
    access: AwsAccess

    @classmethod
    def of(cls, airflow: Context) -> RunningTask:
        """The context of the task that Airflow describes so.

        Raises AirflowFailException with every setting that is missing or wrong.
        """
        settings = load_settings()
        return cls(airflow, settings, AwsAccess.of(settings))

    @classmethod
    def current(cls) -> RunningTask:
        """The context of the task that calls this; raises as `of` does."""
        return cls.of(get_current_context())

    @property
    def run(self) -> Run:
        """The run of the task, and which of its tasks it is."""
        return Run.of_task(self.airflow["ti"])

    def run_state(self, run: Run) -> RunState:
        """What Airflow knows of a run, asked through the execution API."""
        count = self.airflow["ti"].get_dr_count
        if not count(dag_id=run.dag_id, run_ids=[run.run_id]):
            return "unknown"
        return "unfinished" if count(dag_id=run.dag_id, run_ids=[run.run_id], states=UNFINISHED) else "over"

    @property
    def person(self) -> str:
        """The user who started the run; empty if Airflow does not know one."""
        return getattr(self.airflow["dag_run"], "triggering_user_name", None) or ""

    @property
    def source_policy(self) -> SourcePolicy:
        """What the installation allows of sources; every secret in an address is masked before the address is used."""
        from include.datasets.unpacking.addresses import SourcePolicy

        return SourcePolicy.of(self.settings, hide=mask_secret)

    def client(self, service: str) -> Any:
        """A boto3 client of one service (`sagemaker`, `logs`, `s3`, ...)."""
        return self.access.client(service)

    def note(self, sentence: str) -> None:
        """Let the run's note in Airflow be this sentence; the plugin `run_notes` writes it when the run ends."""
        log.info("%s", sentence)
        self.hand_on(NOTE, sentence)

    def leave_out(self, *task_ids: str) -> None:
        """Let Airflow skip these tasks; see the function `leave_out`."""
        leave_out(*task_ids, airflow=self.airflow)

    def hand_on(self, key: str, document: Any) -> None:
        """Pass on a document beside the one that the task returns."""
        self.airflow["ti"].xcom_push(key=key, value=document)


@dataclass(frozen=True)
class AwsAccess:
    """How AWS is reached: what the provider's hooks take, in a form that a deferred task's trigger can carry."""

    aws_conn_id: str | None = "aws_default"
    region_name: str | None = None
    verify: bool | str | None = None
    botocore_config: dict[str, Any] | None = None

    @classmethod
    def of(cls, settings: Settings) -> AwsAccess:
        """The access that the installation's settings name."""
        return cls(aws_conn_id=settings.aws_conn_id, region_name=settings.region)

    def as_fields(self) -> dict[str, Any]:
        """The fields as JSON values: `AwsAccess(**fields)` is equal to this one."""
        return asdict(self)

    def as_text(self) -> str:
        """The same text for all accesses that are equal."""
        return json.dumps(self.as_fields(), sort_keys=True)

    def hook(self, service: str) -> AwsBaseHook:
        """The provider's hook for one service."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        return AwsBaseHook(
            client_type=service,
            aws_conn_id=self.aws_conn_id,
            region_name=self.region_name,
            verify=self.verify,
            config=self.botocore_config,
        )

    def endpoint(self, service: str) -> str:
        """The address of a service that the connection or the environment names; empty for AWS's own."""
        named = self.hook(service).conn_config.get_service_endpoint_url(service)
        return (
            named or os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or os.environ.get("AWS_ENDPOINT_URL") or ""
        )

    def client(self, service: str) -> Any:
        """The boto3 client of one service."""
        return self.kept(self._clients, service, lambda: self._new_client(service, None, self._opened[0].config))

    def kept(self, clients: dict[str, Any], service: str, make: Callable[[], Any]) -> Any:
        """The client of a service in `clients`, or a new one, which is kept there if there are credentials.

        A client that was made without credentials never finds any.
        """
        if service in clients:
            return clients[service]
        has_credentials = self._opened[1].get_credentials() is not None
        client = make()
        if has_credentials:
            clients[service] = client
        return client

    async def connect(self, service: str) -> AbstractAsyncContextManager[Any]:
        """An aiobotocore client of one service, once it is entered."""
        client: AbstractAsyncContextManager[Any] = await self.hook(service).get_async_conn()
        return client

    def quick_clients(self) -> Clients:
        """Clients that give up after seconds, for services that a run can do without."""
        from botocore.config import Config

        from include.preflight import CLIENT_CONFIG

        config = self._opened[0].config.merge(Config(**CLIENT_CONFIG))

        def client(service: str, region: str | None = None) -> Any:
            return self._new_client(service, region, config)

        return client

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    @cached_property
    def _opened(self) -> tuple[AwsBaseHook, Any]:
        """A hook and its session. A session for each client would read botocore's tables and take on the role again."""
        hook = self.hook("s3")
        return hook, hook.get_session()

    def _new_client(self, service: str, region: str | None, config: Config) -> Any:
        hook, session = self._opened
        return session.client(
            service,
            region_name=region or hook.conn_config.region_name,
            endpoint_url=hook.conn_config.get_service_endpoint_url(service),
            verify=hook.verify,
            config=config,
        )


def load_settings() -> Settings:
    """The installation's settings.

    Raises AirflowFailException with everything that is missing or wrong: a retry reads the same Variable.
    """
    from airflow.sdk.exceptions import AirflowFailException

    from include.settings import SettingsError

    settings, problems = read_settings()
    if problems:
        raise AirflowFailException(str(SettingsError(problems)))
    return settings


def read_settings() -> tuple[Settings, list[Problem]]:
    """The installation's settings without those that have a problem, and all problems."""
    from include.settings import Settings

    return Settings.read(Variable.get(VARIABLE, default=None))


def queue_settings() -> dict[str, Any]:
    """What a DAG file needs to watch the queue, `queue_url` first; empty if no queue is set."""
    content = _settings_of_dag_files("new images are looked for on schedule only")
    if not content.get("queue_url"):
        return {}
    return {name: content[name] for name in QUEUE_SETTINGS if name in content}


def endpoint_check_schedule() -> CronTriggerTimetable | None:
    """When `evaluate_endpoint` runs by itself; None if the settings name no time, or none that can be read."""
    return _cron("endpoint_check_cron", without="endpoints are measured by hand only")


def retraining_schedule() -> CronTriggerTimetable:
    """When `retrain_on_new_images` looks for new images by itself: as the settings say, or every hour."""
    from airflow.sdk import CronTriggerTimetable

    from include.settings import RETRAINING_CRON

    asked = _cron("retraining_cron", without="new images are looked for every hour")
    return asked or CronTriggerTimetable(RETRAINING_CRON, timezone="UTC")


def _cron(setting: str, *, without: str) -> CronTriggerTimetable | None:
    from airflow.sdk import CronTriggerTimetable

    from include.settings import is_cron

    expression = _settings_of_dag_files(without).get(setting)
    if not isinstance(expression, str) or not expression or not is_cron(expression):
        return None
    return CronTriggerTimetable(expression, timezone="UTC")


def _settings_of_dag_files(without: str) -> dict[str, Any]:
    """The settings' Variable as DAG files read it, unchecked; empty if there is none. `without` says what follows then.

    Never raises: a Variable that is missing or wrong must not take the DAG out of the UI, where its tasks report what
    is wrong with it.
    """
    try:
        content = json.loads(Variable.get(VARIABLE, default=None) or "{}")
    except Exception:  # noqa: BLE001  (secrets backends raise whatever they like)
        log.warning("The Variable %s could not be read: %s.", VARIABLE, without)
        return {}
    return content if isinstance(content, dict) else {}


def asked_conf() -> Mapping[str, Any]:
    """The run conf with which a person or another system started the run, as it was given."""
    return get_current_context()["dag_run"].conf or {}


def leave_out(*task_ids: str, airflow: Context | None = None) -> None:
    """Let Airflow skip these tasks without a worker: each comes directly after the running one, a `deciding_task`.

    An id that the DAG does not have is ignored. `airflow` is the running task's context, if the caller has it.
    """
    if task_ids:
        log.info("Left out, as this run has nothing for them to do: %s.", ", ".join(task_ids))
        ti = (airflow or get_current_context())["ti"]
        ti.xcom_push(key=XCOM_SKIPMIXIN_KEY, value={XCOM_SKIPMIXIN_SKIPPED: list(task_ids)})


def hide_queries(conf: RunConf, problems: Iterable[Problem] = ()) -> None:
    """Keep the queries of a run conf's web addresses out of this task's log, also of those that were refused."""
    from include.problems import secrets_of

    known = conf.has("dataset") and conf.dataset.has("source")
    addresses = [*(conf.dataset.source if known else ()), *(problem.value for problem in problems)]
    for address in addresses:
        for secret in secrets_of(address) if isinstance(address, str) else ():
            mask_secret(secret)


def sealed_conf(s3: S3Client, conf: RunConf, data_bucket: str) -> RunConf:
    """The run conf as tasks hand it on: the queries of its web addresses are kept in S3 and leave a reference."""
    from include.datasets.layout import keep_queries

    dataset = keep_queries(s3, conf.dataset, data_bucket)
    return conf if dataset is conf.dataset else conf.model_copy(update={"dataset": dataset})

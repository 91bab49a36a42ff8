"""Links from a task to what it started or made: the job's page in the AWS console, its log, its report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

from include.sagemaker.api import TRAINING

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from image_classification.context import RunningTask
    from include.pages import WebPages
    from include.sagemaker.api import JobKind
    from include.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""Hosts of a local AWS that a browser reaches as the tasks do."""

PAGES = "image-classification"
"""Where the plugin `model_pages` shows its pages, which knows it too."""

UNSIGNED = "Signature=none"
"""A browser signs nothing. moto hides an object from a request without a signature, and checks none that it has."""

CONSOLES = {"cn": "console.amazonaws.cn", "us-gov": "console.amazonaws-us-gov.com"}


class PlaceLink(BaseOperatorLink):
    """A page that a waiting operator points at in one of its attributes; Airflow keeps a link by its class's name."""

    text: ClassVar[str]
    attribute: ClassVar[str]

    @property
    def name(self) -> str:
        """The link's text."""
        return self.text

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The page of what `operator` has just started or found; empty before there is one."""
        return str(getattr(operator, self.attribute, ""))


class ConsoleLink(PlaceLink):
    """The page of the task's job or endpoint in the AWS console; of a local AWS in Airflow itself."""

    text, attribute = "SageMaker console", "console_url"


class LogLink(PlaceLink):
    """The log of the task's job or endpoint in CloudWatch Logs; of a local AWS in Airflow itself."""

    text, attribute = "CloudWatch logs", "log_url"


class JobsLink(PlaceLink):
    """The page of the run's jobs: the leaderboard while they train."""

    text, attribute = "Jobs of this run", "jobs_url"


class ReportsLink(PlaceLink):
    """The page of the run's reports: leaderboard and evaluation, as soon as they are written."""

    text, attribute = "Reports", "reports_url"


class WrittenLink(BaseOperatorLink):
    """A document or folder that the task wrote to S3.

    :param text: the link's text
    :param address: finds the address, `s3://bucket/key`, in what the task passed on; empty: there is none
    :param handed_on: the XCom in which the task handed it on
    """

    def __init__(self, text: str, address: Callable[[Any], str | None], handed_on: str = "return_value") -> None:
        self.text = text
        self.address = address
        self.handed_on = handed_on

    @property
    def name(self) -> str:
        """The link's text."""
        return self.text

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the link: of one task's links each has a place of its own."""
        return f"_link_{'_'.join(self.text.lower().split())}"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The page of what a task that has ended well wrote; empty for any other."""
        from airflow.sdk.execution_time.xcom import XCom

        from image_classification.context import load_settings

        document = XCom.get_value(ti_key=ti_key, key=self.handed_on)
        address = self.address(document) if document else None
        return s3_page(load_settings(), address) if address else ""


def with_links(result: Any, *links: WrittenLink) -> Any:
    """The same task's result, its task with these links; of a mapped task every copy has them."""
    task = result.operator
    task.operator_extra_links = links
    if task.is_mapped:  # a copy is made of the class, and of nothing that was set on the task since
        task.operator_class = type(
            task.operator_class.__name__, (task.operator_class,), {"operator_extra_links": links}
        )
    return result


def s3_page(settings: Settings, uri: str) -> str:
    """A page for people of an object or a folder.

    Reports and the pages of dataset versions are shown by this project's own pages in Airflow. All else is in the S3
    console, or as a local AWS answers a browser.
    """
    from include.catalog.stored_pages import page_path

    if path := page_path(settings, uri):
        return own_page(path)
    if not (endpoint := _local_endpoint(settings, "s3")):
        return s3_url(settings.region, uri)
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    is_folder = not key or key.endswith("/")
    return f"{endpoint}/{bucket}?prefix={quote(key)}" if is_folder else f"{endpoint}/{bucket}/{quote(key)}?{UNSIGNED}"


def web_pages(running: RunningTask) -> WebPages:
    """What a report of the running task's run links to."""
    from include.pages import WebPages

    settings = running.settings
    return WebPages(
        run=run_page(running.run.dag_id, running.run.run_id),
        job=partial(job_page, settings, TRAINING),
        stored=partial(s3_page, settings),
    )


def job_page(settings: Settings, kind: JobKind, name: str) -> str:
    """The page of a job or endpoint: in the AWS console, or for a local AWS one of this project's own."""
    if _local_endpoint(settings, "sagemaker"):
        return own_page(f"jobs/{kind.action}/{quote(name)}")
    return console_url(settings.region, kind.console_page, name)


def job_log(settings: Settings, kind: JobKind, name: str) -> str:
    """The page of its log: in the AWS console, or on the page of the job."""
    if _local_endpoint(settings, "sagemaker"):
        return f"{job_page(settings, kind, name)}#log"
    return log_url(settings.region, *kind.log_place(name))


def run_page(dag_id: str, run_id: str) -> str:
    """The address of a run's page in Airflow."""
    return f"{_airflow()}/dags/{dag_id}/runs/{quote(run_id)}"


def jobs_page(dag_id: str, run_id: str) -> str:
    """The address of the page that shows a run's training jobs, and what they have reached so far."""
    return own_page(f"runs/{quote(dag_id, safe='')}/{quote(run_id, safe='')}")


def own_page(path: str) -> str:
    """The address in Airflow's UI of one of this project's own pages (the plugin `model_pages`)."""
    base = _airflow()
    return f"{base}/plugin/{PAGES}{urlsplit(base).path}/{PAGES}/{path}"


def _airflow() -> str:
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback="http://localhost:8080")).rstrip("/")


def console_url(region: str, page: str, name: str) -> str:
    """The address of a job's or endpoint's page, in the console of the region's partition."""
    return f"https://{_console(region)}/sagemaker/home?region={region}#/{page}/{name}"


def log_url(region: str, group: str, stream_prefix: str = "") -> str:
    """The address of a log group's page in the console, its streams narrowed to those that start with the prefix."""
    shown = f"?logStreamNameFilter={_fragment(stream_prefix)}" if stream_prefix else ""
    address = f"{_fragment(group)}{shown}".replace("%", "$25").replace("?", "$3F").replace("=", "$3D")
    return f"https://{_console(region)}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{address}"


def s3_url(region: str, uri: str) -> str:
    """The address of an object's page in the S3 console, or of a folder's: a URI with a slash at its end."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    page = "buckets" if key.endswith("/") else "object"
    return f"https://{_console(region)}/s3/{page}/{bucket}?region={region}&prefix={quote(key)}"


def _local_endpoint(settings: Settings, service: str) -> str:
    """The address of a service of a local AWS; empty for AWS itself."""
    from image_classification.context import AwsAccess

    endpoint = AwsAccess.of(settings).endpoint(service).rstrip("/")
    return endpoint if urlsplit(endpoint).hostname in LOOPBACK else ""


def _console(region: str) -> str:
    host = next((host for prefix, host in CONSOLES.items() if region.startswith(f"{prefix}-")), None)
    return f"{region}.{host or 'console.aws.amazon.com'}"


def _fragment(text: str) -> str:
    return quote(text, safe="")

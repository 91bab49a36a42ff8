"""Messages about a run to people: by the SNS topic, or the Airflow notifier, that the setting `notify` names.

A message that cannot be sent is a warning in the log and fails nothing.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import Asset

from image_classification.context import RunningTask
from image_classification.links import run_page, s3_page

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.sagemaker.naming import Run

log = logging.getLogger(__name__)

MODEL = Asset(name="image-model", group="image-classification")
"""A registered version, or one about which a person was asked; the event's extra is `RegisteredModel.as_event`."""

Occasion = Literal["promoted", "refused", "awaiting approval", "failed", "rolled back", "worse", "late"]
"""Why people are notified; an attribute of the message, by which a subscription can filter."""
LONGEST_SUBJECT = 100
"""Characters of an SNS message's subject, of which each has to be ASCII and printable (API reference of Publish)."""


@dataclass(frozen=True)
class Notice:
    """One message: what happened in a sentence, what more there is to say, and where to read on.

    `links` are names and addresses; those without an address are left out.
    """

    occasion: Occasion
    sentence: str
    lines: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()

    @property
    def subject(self) -> str:
        """The occasion and the sentence, in one line."""
        return f"[{self.occasion}] {' '.join(self.sentence.split())}"

    @property
    def text(self) -> str:
        """All of it, as a person reads it."""
        told = [f"{name}: {address}" for name, address in self.links if address]
        return "\n".join([self.sentence, *([""] if self.lines else []), *self.lines, *([""] if told else []), *told])


def announce(
    running: RunningTask,
    occasion: Occasion,
    sentence: str,
    *,
    lines: Sequence[str] = (),
    links: Mapping[str, str | None] | None = None,
    run: Run | None = None,
) -> None:
    """Tell people, if the setting `notify` says how; `links` are addresses in S3 by their names.

    The message is about the running task's run, or about another one.
    """
    if not running.settings.notify:
        return
    try:
        pages = [(name, s3_page(running.settings, uri)) for name, uri in (links or {}).items() if uri]
        of_airflow = [("Run", run_page(run.dag_id, run.run_id))] if run else _links_to_airflow(running.airflow)
        told = Notice(occasion, sentence, lines, [*pages, *of_airflow])
        _send(running, told)
        log.info("Sent through %s: %s", running.settings.notify, told.subject)
    except Exception as error:  # noqa: BLE001  (a notifier raises whatever it likes; the run has done its work)
        log.warning("No message could be sent through %s: %s. It was: %s", running.settings.notify, error, sentence)


def announce_failure(context: Context) -> None:
    """Tell people that a run has failed: the `on_failure_callback` of every DAG, which the DAG processor calls."""
    try:
        running = RunningTask.of(context)
    except Exception as error:  # noqa: BLE001  (without settings no one can be notified)
        log.warning("No message about the failure could be sent: %s", error)
        return
    from include.run_conf import dataset_named_by

    dag, ti = context["dag"], context.get("ti")
    run_id = context.get("run_id") or (ti.run_id if ti else "")
    task = f" at {ti.task_id}" if ti else ""
    conf = getattr(context.get("dag_run"), "conf", None) or {}
    named = dataset_named_by(conf) if isinstance(conf, Mapping) else ""
    of = f" of {named}" if named else ""
    reason = {"task_failure": "a task failed", "timed_out": "it took too long"}.get(str(context.get("reason")), "")
    lines = [f"Run {run_id}{f': {reason}' if reason else ''}.", "The task's log names the reason and what to do."]
    announce(running, "failed", f"{dag.dag_id}{of} failed{task}", lines=lines)


def _send(running: RunningTask, told: Notice) -> None:
    settings = running.settings
    if settings.notify.startswith("arn:"):
        _publish(running.client("sns"), settings.notify, told)
        return
    module, _, name = settings.notify.rpartition(".")
    notifier = getattr(import_module(module), name)(**settings.notify_arguments)
    # A notifier renders its arguments with what it is called with, and logs its own failures.
    notifier({**running.airflow, "notice": told})


def _links_to_airflow(airflow: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The page of the run, and of the task if there is one."""
    ti = airflow.get("ti")
    if ti is not None and (page := getattr(ti, "log_url", "")):
        return [("Run", page.partition("/tasks/")[0]), ("Task", page)]
    if "dag" not in airflow or "run_id" not in airflow:
        return []
    return [("Run", run_page(airflow["dag"].dag_id, str(airflow["run_id"])))]


def _publish(sns: Any, topic: str, notice: Notice) -> None:
    """Publish a notice to a topic, with the boto3 client of SNS."""
    sns.publish(
        TopicArn=topic,
        Subject=ascii_subject(notice.subject),
        Message=notice.text,
        MessageAttributes={"occasion": {"DataType": "String", "StringValue": notice.occasion}},
    )


def ascii_subject(subject: str) -> str:
    """A subject as SNS takes it: what is not ASCII loses its accents or becomes a question mark."""
    plain = unicodedata.normalize("NFKD", subject)
    letters = (letter for letter in plain if not unicodedata.combining(letter))
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in letters)
    return printable if len(printable) <= LONGEST_SUBJECT else f"{printable[: LONGEST_SUBJECT - 3]}..."

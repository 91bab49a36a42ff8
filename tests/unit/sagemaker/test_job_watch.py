from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from image_classification.context import AwsAccess
from include.sagemaker import job_watch
from include.sagemaker.api import TRAINING
from include.sagemaker.job_watch import JobWatch, watch_of
from tests.support.faulty_aws import FaultyAws, Hook, event_of, refusal, waiting

LOST = EndpointConnectionError(endpoint_url="http://127.0.0.1:1")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FaultyAws:
    aws = FaultyAws()
    monkeypatch.setattr(AwsAccess, "hook", lambda *_: Hook(aws))
    monkeypatch.setattr("include.sagemaker.api.Backoff.wait", lambda _, poll: min(poll, 0.02))
    return aws


async def until(seen: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not seen():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def watch_of_job() -> JobWatch:
    access = waiting("job").access
    return watch_of(TRAINING, access.as_text(), access.connect)


def waiting_for(*names: str) -> list[asyncio.Task[dict[str, Any]]]:
    return [asyncio.create_task(event_of(waiting(name))) for name in names]


async def test_one_call_tells_of_all_jobs_and_only_those_that_changed_are_described(aws: FaultyAws) -> None:
    names = [f"job-{number}" for number in range(50)]
    aws.start(*names)
    events = waiting_for(*names)
    await until(lambda: aws.calls["list"] >= 3)
    before = aws.calls.copy()

    await until(lambda: aws.calls["list"] >= before["list"] + 10)
    assert aws.calls["describe"] == before["describe"] == 50

    aws.move("job-7", "Completed", "Completed")
    assert (await events[7])["status"] == "Completed"
    assert aws.calls["describe"] == 51
    for event in events:
        event.cancel()


async def test_the_log_of_two_machines_tells_each_epoch_once_with_the_figures_of_one(
    aws: FaultyAws, caplog: pytest.LogCaptureFixture
) -> None:
    aws.start("pair")
    aws.jobs["pair"]["ResourceConfig"] = {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 2}
    for epoch in (0, 1):
        for line in ("Train-accuracy=0.{}1", "Time cost=5", "Validation-accuracy=0.{}2"):
            for machine in (2, 1):
                aws.write("pair", f"Epoch[{epoch}] {line.format(machine)}", machine=f"algo-{machine}-1767323045")
    aws.move("pair", "Completed", "Completed")

    with caplog.at_level(logging.INFO, "task"):
        await event_of(waiting("pair"))

    summaries = [line for line in caplog.messages if line.startswith("==>")]
    assert all("train accuracy 0.1100, validation accuracy 0.1200" in line for line in summaries)
    assert [line.partition(",")[0] for line in summaries] == ["==> epoch 1 of 2", "==> epoch 2 of 2"]
    assert sum(line.startswith("[algo-2] Epoch[") for line in caplog.messages) == 6
    assert sum(line.startswith("[algo-1] Epoch[") for line in caplog.messages) == 6


async def test_one_call_reads_the_logs_of_many_jobs_and_each_line_reaches_its_own_task_once(
    aws: FaultyAws, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"job-{number}" for number in range(30)]
    aws.start(*names)
    for name in names:
        aws.write(name, f"hello of {name}")
    with caplog.at_level(logging.INFO, "task"):
        events = waiting_for(*names)
        await until(lambda: any(len(asked.get("logStreamNames", ())) == 30 for asked in aws.asked))
        before = aws.calls.copy()
        for name in names:
            aws.write(name, f"again of {name}")
        await until(lambda: "again of job-29" in caplog.messages)
        looks = aws.calls["list"] - before["list"]

    for name in names:
        told = [record.message for record in caplog.records if record.name == f"task.{name}"]
        assert [line for line in told if " of job" in line] == [f"hello of {name}", f"again of {name}"]
    assert aws.calls["logs"] - before["logs"] <= looks + 1
    for event in events:
        event.cancel()


async def test_two_triggers_may_wait_for_the_same_job(aws: FaultyAws) -> None:
    aws.start("job")
    events = waiting_for("job", "job")
    await until(lambda: aws.calls["list"] >= 2)

    aws.move("job", "Completed", "Completed")

    assert [event["status"] for event in await asyncio.gather(*events)] == ["Completed", "Completed"]


async def test_one_job_alone_costs_two_calls_a_look_and_none_for_its_log_before_it_runs(aws: FaultyAws) -> None:
    aws.start("job", stage="Starting")
    (event,) = waiting_for("job")
    await until(lambda: aws.calls["describe"] >= 5)
    assert aws.calls["logs"] == aws.calls["list"] == 0

    aws.move("job", "Training")
    await until(lambda: aws.calls["logs"] >= 5)
    assert aws.calls["logs"] <= aws.calls["describe"]
    event.cancel()


async def test_a_restarted_job_is_read_on_its_new_machine(aws: FaultyAws, caplog: pytest.LogCaptureFixture) -> None:
    aws.start("job", "other")
    aws.write("job", "on the first machine")
    with caplog.at_level(logging.INFO, "task"):
        events = waiting_for("job", "other")
        await until(lambda: "on the first machine" in caplog.messages)
        aws.move("job", "Interrupted")
        seen = aws.calls["describe"]
        await until(lambda: aws.calls["describe"] > seen)
        aws.move("job", "Training")
        aws.write("job", "on the second machine", machine="algo-1-again")
        await until(lambda: "on the second machine" in caplog.messages)

    assert caplog.messages.count("on the first machine") == 1
    for event in events:
        event.cancel()


async def test_throttling_lost_connections_and_faults_of_the_service_are_waited_out(
    aws: FaultyAws, caplog: pytest.LogCaptureFixture
) -> None:
    aws.start("job")
    aws.move("job", "Completed", "Completed")
    timeout = ReadTimeoutError(endpoint_url="http://127.0.0.1:1")
    aws.fail_next("describe", refusal("ThrottlingException"), LOST, timeout, refusal("Odd", status=503))

    event = await event_of(waiting("job"))

    assert event["status"] == "Completed"
    assert sum("asking again" in line for line in caplog.messages) == 4


async def test_a_throttled_list_is_waited_out_by_all(aws: FaultyAws) -> None:
    aws.start("a", "b")
    events = waiting_for("a", "b")
    await until(lambda: aws.calls["list"] >= 1)
    aws.fail_next("list", refusal("ThrottlingException"), LOST)
    await until(lambda: not aws.faults["list"])

    for name in ("a", "b"):
        aws.move(name, "Completed", "Completed")

    assert {event["status"] for event in await asyncio.gather(*events)} == {"Completed"}


async def test_where_the_role_may_not_list_each_job_is_described(aws: FaultyAws) -> None:
    aws.start("a", "b")
    aws.fail_next("list", refusal("AccessDeniedException"))
    events = waiting_for("a", "b")
    await until(lambda: aws.calls["describe"] >= 10)

    assert aws.calls["list"] == 1
    for name in ("a", "b"):
        aws.move(name, "Completed", "Completed")
    await asyncio.gather(*events)


async def test_where_the_account_runs_very_many_jobs_a_few_are_described_instead_of_listed(aws: FaultyAws) -> None:
    aws.page_size = 10
    aws.start("a", "b", *(f"of-others-{number}" for number in range(60)))
    events = waiting_for("a", "b")
    await until(lambda: aws.calls["describe"] >= 20)

    assert aws.calls["list"] == 7
    for event in events:
        event.cancel()


async def test_what_aws_refuses_for_good_ends_the_wait_of_that_job_only(aws: FaultyAws) -> None:
    aws.start("lives", "closed")
    aws.fail_next("describe", None, refusal("AccessDeniedException"))
    lives, closed = waiting_for("lives", "closed")

    assert (await closed)["status"] == "Unreachable"
    aws.move("lives", "Completed", "Completed")
    assert (await lives)["status"] == "Completed"


async def test_a_job_that_aws_does_not_have_is_unknown(aws: FaultyAws) -> None:
    aws.start("lives")
    lives, gone = waiting_for("lives", "gone")

    told = await gone

    assert (told["status"], "not found" in told["message"]) == ("Unknown", True)
    aws.move("lives", "Completed", "Completed")
    assert (await lives)["status"] == "Completed"


async def test_a_job_that_vanishes_while_others_wait_is_told(aws: FaultyAws) -> None:
    aws.start("a", "b")
    events = waiting_for("a", "b")
    await until(lambda: aws.calls["list"] >= 2)

    del aws.jobs["a"]

    assert (await events[0])["status"] == "Unknown"
    events[1].cancel()


async def test_stale_credentials_are_fetched_anew(aws: FaultyAws) -> None:
    aws.start("job")
    (event,) = waiting_for("job")
    await until(lambda: aws.calls["describe"] >= 2)
    signed_in = aws.sign_ins
    aws.fail_next("describe", refusal("ExpiredTokenException"))
    await until(lambda: aws.sign_ins > signed_in)

    aws.move("job", "Completed", "Completed")

    assert (await event)["status"] == "Completed"


async def test_a_fault_of_the_watch_itself_reaches_every_trigger_and_the_next_one_gets_a_fresh_watch(
    aws: FaultyAws,
) -> None:
    aws.start("a", "b")
    events = waiting_for("a", "b")
    await until(lambda: aws.calls["list"] >= 1)
    aws.fail_next("list", ZeroDivisionError("a mistake"))

    told = await asyncio.gather(*events, return_exceptions=True)
    assert [type(error) for error in told] == [ZeroDivisionError, ZeroDivisionError]

    aws.move("a", "Completed", "Completed")
    assert (await event_of(waiting("a")))["status"] == "Completed"


async def test_a_watch_that_is_cancelled_leaves_no_trigger_waiting(aws: FaultyAws) -> None:
    aws.start("job")
    (event,) = waiting_for("job")
    await until(lambda: aws.calls["describe"] >= 1)

    watch_of_job()._task.cancel()

    with pytest.raises(RuntimeError, match="ended with the triggerer"):
        await event


async def test_no_connection_to_aws_at_all_reaches_the_trigger(aws: FaultyAws, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_hook(*_: Any) -> Any:
        raise LookupError("the connection aws_team is not defined")

    monkeypatch.setattr(AwsAccess, "hook", no_hook)

    with pytest.raises(LookupError, match="aws_team"):
        await event_of(waiting("job"))


async def test_a_log_that_cannot_be_read_does_not_keep_the_end_of_the_job_from_being_seen(
    aws: FaultyAws, caplog: pytest.LogCaptureFixture
) -> None:
    aws.start("job")
    aws.fail_next("logs", *[refusal("AccessDeniedException")] * 100)
    (event,) = waiting_for("job")
    await until(lambda: aws.calls["logs"] >= 3)

    aws.move("job", "Completed", "Completed")

    assert (await event)["status"] == "Completed"
    assert sum("The log of training job job could not be read" in line for line in caplog.messages) == 1


async def test_an_overdue_job_is_stopped(aws: FaultyAws) -> None:
    aws.start("job")

    event = await event_of(waiting("job", limit_seconds=0.01))

    assert event["status"] == "TimedOut"
    assert aws.jobs["job"]["TrainingJobStatus"] == "Stopped"


@pytest.mark.parametrize("hours", [-9, 9])
async def test_a_clock_that_is_set_ends_no_wait_and_prolongs_none(
    aws: FaultyAws, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.start("waits", "overdue")
    patient, overdue = waiting("waits", limit_seconds=3600.0), waiting("overdue", limit_seconds=0.2)
    now = time.time
    events = [asyncio.create_task(event_of(trigger)) for trigger in (patient, overdue)]
    await until(lambda: aws.calls["describe"] >= 2)

    monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours)
    for name in ("waits", "overdue"):
        aws.move(name, "Uploading")

    assert (await asyncio.wait_for(events[1], 20))["status"] == "TimedOut"
    assert not events[0].done()
    aws.move("waits", "Completed", "Completed")
    assert (await events[0])["status"] == "Completed"


async def test_a_watch_ends_when_it_has_had_no_job_for_a_while_and_stops_jobs_until_then(
    aws: FaultyAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "LINGER_SECONDS", 0.1)
    aws.start("job", "other")
    (event,) = waiting_for("job")
    await until(lambda: aws.calls["describe"] >= 1)
    watch = watch_of_job()
    event.cancel()

    await waiting("job").on_kill()
    assert aws.jobs["job"]["TrainingJobStatus"] == "Stopped"
    assert aws.sign_ins == 2  # SageMaker and its logs, once

    await until(lambda: watch.has_ended)
    assert (await asyncio.gather(*waiting_for("job")))[0]["status"] == "Stopped"
    assert aws.sign_ins == 4

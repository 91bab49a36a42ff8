from __future__ import annotations

import time

import pytest
from botocore.exceptions import ClientError

from include.sagemaker.job_polling import OVERLAP_MS, JobLog, JobLogs
from tests.support.faulty_aws import FaultyAws, refusal


def texts(log: JobLog) -> list[str]:
    return [line.text for line in log.take_lines()]


@pytest.fixture
def aws() -> FaultyAws:
    return FaultyAws()


async def test_lines_that_were_read_before_another_log_failed_are_not_lost(aws: FaultyAws) -> None:
    first, second = JobLog("first"), JobLog("second")
    aws.write("first", "one")
    aws.write("second", "two")
    logs = JobLogs(aws, "group")
    aws.fail_next("logs", None, refusal("ThrottlingException"))

    with pytest.raises(ClientError, match="Throttling"):
        await logs.read([first, second])
    assert texts(first) == ["one"]
    await logs.read([first, second])

    assert (texts(first), texts(second)) == ([], ["two"])


async def test_a_late_line_is_told_and_no_line_twice(aws: FaultyAws) -> None:
    log, logs = JobLog("job"), JobLogs(aws, "group")
    aws.write("job", "first")
    aws.write("job", "third")
    await logs.read([log])
    assert texts(log) == ["first", "third"]

    aws.write("job", "second, which took its time")
    aws.events[-1]["timestamp"] = aws.events[0]["timestamp"] - OVERLAP_MS // 2
    await logs.read([log])
    await logs.read([log])

    assert texts(log) == ["second, which took its time"]


async def test_old_lines_are_not_asked_for_again(aws: FaultyAws) -> None:
    log, logs = JobLog("job"), JobLogs(aws, "group")
    aws.write("job", "long ago")
    aws.events[-1]["timestamp"] = 1
    await logs.read([log])
    await logs.read([log])

    assert aws.asked[-1]["startTime"] > (time.time() - 2 * OVERLAP_MS / 1000) * 1000
    assert all(not stream.seen for stream in log.streams.values())


async def test_a_log_of_many_pages_is_read_to_its_end(aws: FaultyAws) -> None:
    aws.page_size = 3
    for number in range(100):
        aws.write("job", str(number))
        aws.events[-1]["timestamp"] = 1000 + number
    log, logs, told = JobLog("job"), JobLogs(aws, "group"), []

    for _ in range(4):
        await logs.read([log])
        told += texts(log)

    assert told == [str(number) for number in range(100)]


async def test_a_stream_that_is_gone_does_not_hide_the_others(aws: FaultyAws) -> None:
    both, logs = [JobLog("a"), JobLog("b")], JobLogs(aws, "group")
    for job in ("a", "b"):
        aws.write(job, "first")
    await logs.read(both)
    aws.fail_next("logs", refusal("ResourceNotFoundException"))
    await logs.read(both)
    for log in both:
        log.take_lines()
    aws.write("b", "second")

    await logs.read(both)

    assert "second" in texts(both[1])


async def test_a_job_without_a_log_has_no_lines(aws: FaultyAws) -> None:
    log = JobLog("job")
    aws.fail_next("logs", refusal("ResourceNotFoundException"))

    await JobLogs(aws, "group").read([log])

    assert texts(log) == []


async def test_every_line_says_which_machine_wrote_it(aws: FaultyAws) -> None:
    log, logs = JobLog("job", machines=2), JobLogs(aws, "group")
    aws.write("job", "one", machine="algo-1-1767323045")
    aws.write("job", "two", machine="algo-2-1767323045")

    await logs.read([log])

    assert [(line.stream, line.text) for line in log.take_lines()] == [
        ("algo-1-1767323045", "one"),
        ("algo-2-1767323045", "two"),
    ]


async def test_two_hundred_machines_take_two_calls(aws: FaultyAws) -> None:
    logs = JobLogs(aws, "group")
    jobs = [JobLog(f"job-{number}", machines=2) for number in range(100)]
    for job in jobs:
        aws.write(job.job, "one", machine="algo-1")
        aws.write(job.job, "two", machine="algo-2")
    await logs.read(jobs)
    before = aws.calls["logs"]

    await logs.read(jobs)

    assert aws.calls["logs"] - before == 2

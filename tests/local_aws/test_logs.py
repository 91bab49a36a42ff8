from __future__ import annotations

import time
from typing import Any
from uuid import uuid4


def messages(logs: Any, group: str, **streams: Any) -> list[str]:
    found = logs.filter_log_events(logGroupName=group, **streams)["events"]
    return [event["message"] for event in found]


def test_events_are_found_by_the_prefix_of_their_streams(logs: Any) -> None:
    group = f"/group/{uuid4()}"
    logs.create_log_group(logGroupName=group)
    for stream in ("a/one", "a/two", "ab/one"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": int(time.time() * 1000), "message": stream}]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    assert sorted(messages(logs, group, logStreamNamePrefix="a/")) == ["a/one", "a/two"]
    assert messages(logs, group, logStreamNamePrefix="c/") == []
    assert sorted(messages(logs, group, logStreamNames=["a/one", "ab/one"])) == ["a/one", "ab/one"]
    assert len(messages(logs, group)) == 3

"""A job's lines in CloudWatch Logs, each line once, as they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PAGES_AT_ONCE = 20


@dataclass
class JobLogTail:
    """Follows the log streams `JOB/...` of a log group; one stream a machine."""

    client: Any
    group: str
    job: str
    machines: int = 1
    _tokens: dict[str, str | None] = field(default_factory=dict)

    async def new_lines(self) -> list[str]:
        """The lines since the last call, by stream; empty while the job has no log yet.

        Raises botocore's ClientError for everything but a log that is not there yet.
        """
        from botocore.exceptions import ClientError

        try:
            if len(self._tokens) < self.machines:
                await self._find_streams()
            return [line for stream in self._tokens for line in await self._read(stream)]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return []
            raise

    async def _find_streams(self) -> None:
        found = await self.client.describe_log_streams(logGroupName=self.group, logStreamNamePrefix=f"{self.job}/")
        for stream in found["logStreams"]:
            self._tokens.setdefault(stream["logStreamName"], None)

    async def _read(self, stream: str) -> list[str]:
        lines: list[str] = []
        for _ in range(PAGES_AT_ONCE):
            token = self._tokens[stream]
            page = await self.client.get_log_events(
                logGroupName=self.group,
                logStreamName=stream,
                startFromHead=True,
                **({"nextToken": token} if token else {}),
            )
            lines += [event["message"].rstrip("\n") for event in page["events"]]
            self._tokens[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == token or not page["events"]:
                break
        return lines

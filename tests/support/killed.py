"""A task that is killed between two calls of AWS: the first has been answered, and nothing comes after it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any


class KilledError(BaseException):
    """The end of a process, which no code survives."""


def kill_after(step: int) -> Callable[..., Any]:
    """What clients that are given to it have in common: the process ends after their call of this number.

    The calls of all clients are counted together, from 1.
    """
    calls = itertools.count(1)

    def strike(**_: Any) -> None:
        if next(calls) == step:
            raise KilledError

    def mortal(client: Any) -> Any:
        client.meta.events.register("after-call", strike)
        return client

    return mortal

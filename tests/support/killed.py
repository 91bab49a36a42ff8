"""A task that is killed between two calls of AWS: the first has been answered, and nothing comes after it."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

KILLS_OF_A_TASK = 2


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


@dataclass
class Killer:
    """Kills each task up to twice, each time at one of its calls of AWS; it counts what AWS was asked for."""

    dice: random.Random
    asked: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    _calls_left: int | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Strikes in every task that `DAG.test` runs. A killed task begins anew at once, and not where it waited."""
        from airflow.sdk.execution_time import task_runner  # noqa: PLC0415  (the home comes first)

        from image_classification.context import AwsAccess  # noqa: PLC0415

        execute_task, new_client = task_runner._execute_task, AwsAccess._new_client

        def tried_again(context: Any, ti: Any, log: Any) -> Any:
            while True:
                self._next_try(ti.task_id)
                try:
                    return execute_task(context=context, ti=ti, log=log)
                except KilledError:
                    self.killed[ti.task_id] += 1
                    ti._ti_context_from_server.next_method = None
                finally:
                    self._calls_left = None

        def mortal(access: AwsAccess, *arguments: Any) -> Any:
            client = new_client(access, *arguments)
            client.meta.events.register("after-call", self._after_call)
            return client

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(task_runner, "_execute_task", tried_again)
            patch.setattr(AwsAccess, "_new_client", mortal)
            yield

    def _next_try(self, task: str) -> None:
        """Choose at which of its calls the task is killed, if at any."""
        strikes = self.killed[task] < KILLS_OF_A_TASK and self.dice.random() < 0.6
        self._calls_left = self.dice.choice((1, 2, 3, 4, 6, 9, 14)) if strikes else None

    def _after_call(self, model: Any, http_response: Any, **_: Any) -> None:
        if http_response.status_code < 300:
            self.asked[model.name] += 1
        if self._calls_left is not None:
            self._calls_left -= 1
            if self._calls_left == 0:
                raise KilledError(model.name)

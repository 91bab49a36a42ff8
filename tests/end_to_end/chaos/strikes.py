"""What is killed, and when: drawn from a seed, and started again as an operator or a supervisor would."""

from __future__ import annotations

import math
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from tests.support.live_airflow import LiveAirflow, command_of

IDLE = "LocalExecutor: <idle>"
MISS_SECONDS = 0.5
"""After a strike that found nothing to hit, the next comes so soon."""


@dataclass(frozen=True)
class Strike:
    """One way to kill: `part` is in the command lines of the victims, `again` is the command that replaces them."""

    name: str
    part: str
    number: int
    weight: int
    again: tuple[str, ...] = ()
    all_of_them: bool = False


TASK = Strike("task, SIGKILL", "airflow worker -- ", signal.SIGKILL, 4)
STRIKES = (
    TASK,
    Strike("task, SIGTERM", "airflow worker -- ", signal.SIGTERM, 2),
    Strike("worker, SIGKILL", "airflow worker -- LocalExecutor: ", signal.SIGKILL, 3),
    Strike("triggerer, SIGKILL", "airflow triggerer", signal.SIGKILL, 3, ("triggerer", "--skip-serve-logs"), True),
    Strike("triggerer, SIGTERM", "airflow triggerer", signal.SIGTERM, 1, ("triggerer", "--skip-serve-logs"), True),
    Strike("scheduler, SIGKILL", "airflow scheduler", signal.SIGKILL, 2, ("scheduler", "--skip-serve-logs"), True),
    Strike("all of Airflow, SIGKILL", "", signal.SIGKILL, 1, (), True),
)
"""Workers and tasks are started by the scheduler again; a triggerer, a scheduler and a whole Airflow by the killer."""


@dataclass
class Killer:
    """Strikes on average every `mean_seconds`, `most` times at most; `counts` tells how often something was hit."""

    airflow: LiveAirflow
    seed: int
    mean_seconds: float
    most: float = math.inf
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._pick_next()

    def strike_when_due(self, say: Callable[[str], None]) -> None:
        """Strike where the moment has come; what nobody else replaces is started again at once."""
        if time.monotonic() < self._due or self.counts.total() >= self.most:
            return
        strike = self._next
        hit = self._hit(strike)
        if hit:
            self.counts[strike.name] += 1
            say(f"{strike.name}: {hit} processes")
        if strike.all_of_them:
            self.airflow.start(*strike.again)
        self._pick_next()
        if not hit:
            self._due = min(self._due, time.monotonic() + MISS_SECONDS)

    def _pick_next(self) -> None:
        self._next = self._random.choices(STRIKES, [strike.weight for strike in STRIKES])[0]
        self._due = time.monotonic() + self._random.expovariate(1 / self.mean_seconds)

    def _hit(self, strike: Strike) -> int:
        if not strike.part:
            return self.airflow.kill()
        victims = [process for process in self.airflow.processes(strike.part) if is_busy(process, strike)]
        if strike.all_of_them:
            victims += self.airflow.processes(IDLE) if "scheduler" in strike.part else []
            return self.airflow.kill_these(victims, strike.number)
        return self.airflow.kill_these([self._random.choice(victims)], strike.number) if victims else 0


def is_busy(process: psutil.Process, strike: Strike) -> bool:
    """Whether a process does what the strike is about: a task's own process is none of its worker's.

    A worker is busy once its task runs. Airflow does not notice that a worker is gone which has taken a task and not
    begun it: the task stays queued until the scheduler is started again.
    """
    if strike.part == TASK.part:
        return is_a_task(process)
    if "LocalExecutor" in strike.part:
        with suppress(psutil.NoSuchProcess):
            return any(map(is_a_task, process.children()))
        return False
    return IDLE not in command_of(process)


def is_a_task(process: psutil.Process) -> bool:
    """Whether a process is that of a running task."""
    command = command_of(process)
    return TASK.part in command and "LocalExecutor" not in command

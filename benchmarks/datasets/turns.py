"""What is measured: processes and calls, by the clock and by CPU, in turns that alternate."""

from __future__ import annotations

import gc
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class BenchmarkError(Exception):
    """A measurement that cannot be made here: says why, and what to do."""


@dataclass(frozen=True)
class Turn:
    """Seconds by the clock, and seconds of CPU with those of ended children."""

    wall: float
    cpu: float

    def __add__(self, other: Turn) -> Turn:
        return Turn(self.wall + other.wall, self.cpu + other.cpu)


Measured = Callable[[], Turn]


def run_process(command: Sequence[str | Path], *, cwd: Path = ROOT, variables: Mapping[str, str] | None = None) -> Turn:
    """Run a command to its end, with more environment variables. Raises BenchmarkError with the end of its output."""
    words = [str(word) for word in command]
    settings = environment() | dict(variables or {})
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=settings,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace")[-3000:]
            raise BenchmarkError(f"{' '.join(words)} ended with {process.returncode}:\n{said}")
    return Turn(wall, usage.ru_utime + usage.ru_stime)


def environment() -> dict[str, str]:
    """This process's environment, but with bytecode kept: no side is to compile its modules in every turn."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def timed(call: Callable[[], object]) -> Turn:
    """Run a call of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Turn(time.perf_counter() - wall, time.process_time() - cpu)


def settle() -> None:
    """Free a turn from those before it: what they wrote is on the disk, and their objects are not read again."""
    os.sync()
    gc.collect()
    gc.freeze()


def alternate(measured: Mapping[str, Measured], turns: int) -> dict[str, list[Turn]]:
    """Give each its turn, so often, forwards and backwards, so that whatever else the machine does hits all."""
    taken: dict[str, list[Turn]] = {name: [] for name in measured}
    for number in range(turns):
        for name in sorted(measured, reverse=bool(number % 2)):
            settle()
            taken[name].append(measured[name]())
    return taken


def fastest(turns: Sequence[Turn]) -> float:
    """The least seconds by the clock."""
    return min(turn.wall for turn in turns)


def seconds(turns: Sequence[Turn]) -> str:
    """Write the fastest turn, and the median of several."""
    middle = statistics.median(turn.wall for turn in turns)
    return f"{fastest(turns):.2f} s" + (f" (median {middle:.2f})" if len(turns) > 1 else "")

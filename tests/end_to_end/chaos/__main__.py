"""The ordeal at full length: `python -m tests.end_to_end.chaos [--runs 40] [--seed 1] [--write]`.

Prints the figures, and every fault it finds; ends with 1 where there is one. `--write` keeps the figures in
docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.end_to_end.chaos.installation import installed
from tests.end_to_end.chaos.ordeal import Ordeal, Outcome, conf_of_a_run
from tests.end_to_end.chaos.strikes import Killer
from tests.support.airflow_home import ROOT, migrate_once

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures of make chaos -->", "<!-- end of figures -->"
SECONDS_A_RUN = 90.0
STARTING_SECONDS = 600.0


def main() -> int:
    """Undergo the ordeal and tell how it went."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this process
    started = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:6.0f} s  {line}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        state = Path(folder)
        with installed(state, migrate_once(state)) as installation:
            killer = Killer(installation.airflow, options.seed, options.mean_seconds)
            ordeal = Ordeal(
                installation.airflow,
                installation.operator,
                installation.world,
                conf_of_a_run(installation.version),
                killer,
                say,
            )
            outcome = ordeal.undergo(options.runs, STARTING_SECONDS + SECONDS_A_RUN * options.runs)
    return _tell(outcome, options.write)


def _tell(outcome: Outcome, write: bool) -> int:
    reasons = [f"{run.run.run_id} {task}: {why}" for run in outcome.runs for task, why in run.reasons.items()]
    faults = outcome.faults()
    lines = ["", outcome.table(), "", *(f"Failed: {reason}" for reason in reasons), *(f"FAULT: {it}" for it in faults)]
    sys.stdout.write("\n".join([*lines, f"{len(faults)} faults", ""]))
    if write and not faults:
        machine = f"{os.cpu_count()} cores {platform.machine()}, {time.strftime('%Y-%m-%d')}"
        text = PAGE.read_text()
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{machine}:\n\n{outcome.table()}\n\n{END}{after}")
    return 1 if faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.end_to_end.chaos")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mean-seconds", type=float, default=10.0, help="between two strikes")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/reliability.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

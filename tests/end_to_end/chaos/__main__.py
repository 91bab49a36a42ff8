"""The ordeal at full length: `python -m tests.end_to_end.chaos [--dag train_model] [--runs 40] [--seed 1] [--write]`.

Prints the figures, and every fault it finds; ends with 1 where there is one. `--write` keeps the figures in
docs/explanation/reliability.md.
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
from tests.end_to_end.chaos.ordeal import Ordeal, Outcome
from tests.end_to_end.chaos.strikes import Killer
from tests.end_to_end.chaos.trial import RETRAIN, TRAIN
from tests.support.airflow_home import ROOT, migrate_once

PAGE = ROOT / "docs" / "explanation" / "reliability.md"
BEGIN, END = "<!-- figures of make chaos, {dag} -->", "<!-- end of figures -->"
SECONDS_A_RUN = {TRAIN: 90.0, RETRAIN: 240.0}
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
        with installed(state, migrate_once(state), runs=options.runs, dag_id=options.dag) as installation:
            killer = Killer(installation.airflow, options.seed, options.mean_seconds)
            ordeal = Ordeal(
                installation.airflow,
                installation.operator,
                installation.world,
                installation.trial,
                killer,
                say,
            )
            outcome = ordeal.undergo(STARTING_SECONDS + SECONDS_A_RUN[options.dag] * options.runs)
    return _tell(outcome, options.dag, options.write)


def _tell(outcome: Outcome, dag: str, write: bool) -> int:
    reasons = [f"{run.run.run_id} {task}: {why}" for run in outcome.runs for task, why in run.reasons.items()]
    faults = outcome.faults()
    lines = ["", outcome.table(), "", *(f"Failed: {reason}" for reason in reasons), *(f"FAULT: {it}" for it in faults)]
    sys.stdout.write("\n".join([*lines, f"{len(faults)} faults", ""]))
    if write and not faults:
        machine = f"{os.cpu_count()} cores {platform.machine()}, {time.strftime('%Y-%m-%d')}"
        before, begin, rest = PAGE.read_text().partition(BEGIN.format(dag=dag))
        PAGE.write_text(f"{before}{begin}\n\n{machine}:\n\n{outcome.table()}\n\n{END}{rest.partition(END)[2]}")
    return 1 if faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.end_to_end.chaos")
    parser.add_argument("--dag", choices=(TRAIN, RETRAIN), default=TRAIN)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mean-seconds", type=float, default=10.0, help="between two strikes")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/explanation/reliability.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Print the table of the dataset figures.

    make bench-datasets [ARGS="--quick --only build"]

Images are made on the first run and kept in .local/bench-datasets.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
import traceback
from importlib import import_module

from benchmarks.datasets.machine import describe, im2rec
from benchmarks.datasets.run import started_run
from benchmarks.datasets.table import Row, absent, as_markdown, write_figures
from benchmarks.datasets.turns import BenchmarkError, run_process

MEASURES = {
    "packing": "files_on_disk",
    "large": "files_on_disk",
    "build": "whole_build",
    "memory": "scale",
    "growth": "scale",
    "scaling": "scale",
    "writers": "other_writers",
}
"""A measure is the function of its name, in this module."""


def main() -> int:
    """Measure what was asked for; a measure that fails leaves a row that says why."""
    parser = argparse.ArgumentParser(prog="make bench-datasets", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the images and fewer turns: proves it runs")
    parser.add_argument("--only", choices=MEASURES, action="append", help="these measures, not all")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/explanation/benchmarks.md, too")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    sys.dont_write_bytecode = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the servers as an interrupt does
    started = time.monotonic()
    try:
        machine = describe()
        warm_up()
        print(f"{machine}\n", flush=True)
        table = as_markdown(measure(chosen.only or list(MEASURES), quick=chosen.quick))
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: what was started is ended, the images are kept.", file=sys.stderr)
        return 130
    size = "; a tenth of the images (--quick)" if chosen.quick else ""
    print(f"\n{table}\n\nIn {(time.monotonic() - started) / 60:.1f} minutes{size}.")
    if chosen.write:
        write_figures(f"{machine}\n\n{table}")
    return 0


def warm_up() -> None:
    """Load what the measured processes load, so that all of it is compiled and in the page cache."""
    run_process([sys.executable, "-c", "import benchmarks.datasets.our_build as _, pyarrow; pyarrow.array([0])"])
    run_process([*im2rec(), "-h"])


def measure(names: list[str], *, quick: bool) -> list[Row]:
    """Run measures one after the other; rows appear as they come, on standard error."""
    rows: list[Row] = []
    with started_run(quick=quick) as run:
        for name in names:
            started = time.monotonic()
            try:
                measured = getattr(import_module(f"benchmarks.datasets.{MEASURES[name]}"), name)
                for row in measured(run):
                    print(as_markdown([row]).splitlines()[-1], file=sys.stderr, flush=True)
                    rows.append(row)
            except BenchmarkError as error:
                print(error, file=sys.stderr)
                rows.append(absent(name, str(error).splitlines()[0]))
            except Exception as error:  # noqa: BLE001 - the other measures still count
                traceback.print_exc()
                rows.append(absent(name, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"))
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())

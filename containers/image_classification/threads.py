"""How many CPU threads the container may use."""

from __future__ import annotations

import os

OMP_VARIABLE = "OMP_NUM_THREADS"
CPUS_VARIABLE = "SM_NUM_CPUS"
SPIN_VARIABLE = "GOMP_SPINCOUNT"
WAIT_VARIABLE = "OMP_WAIT_POLICY"
SPINS = "2000"
"""How long a thread of libgomp spins for the others before it sleeps.

Its own default spins for milliseconds: on a machine with other work the spinning threads keep the late ones from
running, and training was seen to fall to a tenth of its speed. This costs nothing on a quiet machine.
"""


def available_cpus() -> int:
    """CPUs this process may run on, at most SM_NUM_CPUS where that is set."""
    mine = len(os.sched_getaffinity(0))
    declared = os.environ.get(CPUS_VARIABLE, "")
    return max(1, min(mine, int(declared))) if declared.isdigit() else mine


def configure_threads() -> int:
    """Set OMP_NUM_THREADS unless it is set, and return it; MXNet reads it once, when it is imported."""
    os.environ.setdefault(OMP_VARIABLE, str(available_cpus()))
    if WAIT_VARIABLE not in os.environ:
        os.environ.setdefault(SPIN_VARIABLE, SPINS)
    declared = os.environ[OMP_VARIABLE]
    return max(1, int(declared)) if declared.isdigit() else available_cpus()

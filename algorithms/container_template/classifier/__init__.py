"""An image classifier in SageMaker's container contract: `python -m classifier train` and `python -m classifier serve`.

Keras and its backend read their environment when they are imported, so it is settled here, before any of them is.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

BACKENDS = ("torch", "jax", "tensorflow")


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Choose Keras' backend (KERAS_BACKEND, else the first that is installed), its folder and the number of threads."""
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if installed:
        environment.setdefault("KERAS_BACKEND", installed[0])
    environment.setdefault("KERAS_HOME", str(Path(tempfile.gettempdir()) / "keras"))
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Threads of libgomp that spin for each other starve on a machine with other work: they shall sleep soon.
    environment.setdefault("GOMP_SPINCOUNT", "2000")
    if cpus := environment.get("SM_NUM_CPUS"):
        environment.setdefault("OMP_NUM_THREADS", cpus)


settle()

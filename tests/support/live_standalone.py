"""The demo's Airflow as the tests run it: `python -m tests.support.live_standalone`.

Its parts find this project loaded, which does not change here, and the task API serves tasks of this Airflow alone.
"""

from __future__ import annotations

import gc

import airflow  # noqa: F401  (before the module that it reads its configuration of logging from)

from demo.airflow_standalone import main
from tests.support.airflow_once import serve_newest_tasks_only
from tests.support.live_executor import load_project

if __name__ == "__main__":
    gc.disable()  # until everything is loaded
    serve_newest_tasks_only()
    load_project()
    main()

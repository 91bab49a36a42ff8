from __future__ import annotations

import tests.support.airflow_home  # noqa: F401  (before anything imports airflow)

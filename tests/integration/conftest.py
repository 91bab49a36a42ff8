from __future__ import annotations

from tests.support import airflow_home  # noqa: F401  (it comes before any import of Airflow)
from tests.support.boto_definitions import read_definitions_once

read_definitions_once()

from __future__ import annotations

from tests.support.boto_definitions import read_definitions_once

read_definitions_once()

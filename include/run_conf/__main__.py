"""Print the reference page of the run conf: `python -m include.run_conf > docs/run-conf.md`."""

from __future__ import annotations

import sys

from include.run_conf.page import reference_page

sys.stdout.write(reference_page())

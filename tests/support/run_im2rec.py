"""Run MXNet's own im2rec.py once per list of arguments; run by the algorithm's interpreter."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from pathlib import Path

mxnet = importlib.util.find_spec("mxnet")
assert mxnet is not None and mxnet.origin is not None
tool = Path(mxnet.origin).parent / "tools" / "im2rec.py"
for arguments in json.loads(sys.argv[1]):
    sys.argv = [str(tool), *arguments]
    runpy.run_path(str(tool), run_name="__main__")

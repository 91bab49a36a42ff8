"""Whether two models mean the same classes by the same indices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence


def label_set_fingerprint(labels: Sequence[str]) -> str:
    """A short fingerprint of class names in class order, where the names themselves would be too long to keep."""
    return hashlib.sha256(json.dumps(list(labels)).encode()).hexdigest()[:16]

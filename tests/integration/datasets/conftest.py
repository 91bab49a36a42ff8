from __future__ import annotations

from tests.support.dataset_bucket import bucket, endpoint, rows, s3

__all__ = ["bucket", "endpoint", "rows", "s3"]

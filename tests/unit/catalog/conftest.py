from __future__ import annotations

from tests.support.dataset_bucket import bucket, endpoint, s3

__all__ = ["bucket", "endpoint", "s3"]

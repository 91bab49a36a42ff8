from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.support.dataset_bucket import bucket, endpoint, rows, s3

__all__ = ["bucket", "endpoint", "rows", "s3"]

settings.register_profile(
    "busy machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("busy machine")

"""What Airflow does again and again, or for clients that the tests do not have, done once for each test process."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from include.run_conf.fields import ACCEPTS_ALL

NEWEST_VERSIONS = 3
"""Some routes of the newest version stand in for those of the two before it, and are made with them."""


@cache
def spare_repetitions() -> None:
    """Once the tests' Airflow has its home: what a run of a DAG costs in a test process, less a quarter."""
    serve_newest_tasks_only()
    check_schemas_once()
    _read_signatures_once()
    _store_dags_once()
    gc.collect()
    gc.freeze()  # a full collection need not look through all of Airflow each time


def serve_newest_tasks_only() -> None:
    """Make the routes of the task API for tasks of this Airflow, and not for those of the seven releases before it."""
    from airflow.api_fastapi.execution_api import versions  # noqa: PLC0415  (the home comes first)
    from cadwyn import HeadVersion, Version, VersionBundle  # noqa: PLC0415

    *newer, oldest = versions.bundle.versions[:NEWEST_VERSIONS]
    for version in versions.bundle.versions:
        for change in version.changes:
            change._bound_version_bundle = None
    versions.bundle = VersionBundle(HeadVersion(), *newer, Version(oldest.value))


def check_schemas_once() -> None:
    """Check each schema of a form's field once, and not once for each field whenever a task starts."""
    from jsonschema import validators  # noqa: PLC0415

    for schema in ({}, ACCEPTS_ALL):
        validator = validators.validator_for(schema)
        validator.check_schema = remembering(validator.check_schema)  # type: ignore[method-assign]


def _read_signatures_once() -> None:
    """Read the signatures of the task API's dependencies once, and not in each request.

    FastAPI reads them again where any dependency is overridden, as that of the caller's token is in a test process.
    """
    from fastapi.dependencies import utils  # noqa: PLC0415

    read, known = utils.get_dependant, dict[Any, Any]()

    def read_once(**asked: Any) -> Any:
        key = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in sorted(asked.items()))
        if key not in known:
            known[key] = read(**asked)
        return known[key]

    utils.get_dependant = read_once


def _store_dags_once() -> None:
    """Read the DAG files and write them to the database for the first run of a test process, and not for each."""
    from airflow.dag_processing import dagbag  # noqa: PLC0415

    store, stored = dagbag.sync_bag_to_db, set[str]()

    def store_once(bag: Any, bundle: str, *arguments: Any, **named: Any) -> None:
        if bundle not in stored:
            store(bag, bundle, *arguments, **named)
            stored.add(bundle)

    dagbag.BundleDagBag = cache(dagbag.BundleDagBag)  # type: ignore[misc, assignment]
    dagbag.sync_bag_to_db = store_once


def remembering(check: Callable[..., None]) -> Callable[..., None]:
    """The check, which is passed over for a schema that has passed it."""
    passed: set[str] = set()

    def check_once(schema: Any, *arguments: Any, **named: Any) -> None:
        written = json.dumps(schema, sort_keys=True, default=repr)
        if written not in passed:
            check(schema, *arguments, **named)
            passed.add(written)

    return check_once

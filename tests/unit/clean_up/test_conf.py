from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

import tests.support.airflow_home  # noqa: F401  (before anything imports airflow)
from image_classification.tasks.clean_up import _carry_out
from include.clean_up import CleanUpConf, CleanUpConfError
from include.clean_up.findings import Finding, carry_out, table


def test_every_default_is_safe_for_a_schedule() -> None:
    conf = CleanUpConf.from_conf(None)

    assert (conf.unknown_runs, conf.keep_versions) == (False, None)


def test_all_that_is_wrong_comes_in_one_message() -> None:
    with pytest.raises(CleanUpConfError) as wrong:
        CleanUpConf.from_conf({"keep_versions": 0, "dry": True, "unknown_run": 1, "versions_older_than_days": "soon"})

    assert str(wrong.value).splitlines()[1:] == [
        "  dry = True: no such field; there are dry_run, unknown_runs, uploads_older_than_hours, "
        "unserved_older_than_days, keep_versions, versions_older_than_days, delete_endpoint, confirm_deletion",
        "  unknown_run = 1: no such field; did you mean unknown_runs?",
        "  keep_versions = 0: must be a whole number of at least 1, or empty",
        "  versions_older_than_days = soon: must be a whole number of at least 1",
    ]


def test_a_clean_up_is_read_like_a_run() -> None:
    conf = CleanUpConf.from_conf({"dry_run": " TRUE ", "keep_versions": '"3"', "uploads_older_than_hours": ""})

    assert (conf.dry_run, conf.keep_versions, conf.uploads_older_than_hours) == (True, 3, 48)


def test_an_endpoint_is_deleted_only_if_its_name_is_given_twice() -> None:
    assert CleanUpConf.from_conf({"delete_endpoint": "pets", "confirm_deletion": " pets "}).delete_endpoint == "pets"
    for confirmed in ("", "pet", None):
        with pytest.raises(
            CleanUpConfError, match=r"confirm_deletion = .*: must be the name of the endpoint to delete, p"
        ):
            CleanUpConf.from_conf({"delete_endpoint": "pets", "confirm_deletion": confirmed})
    with pytest.raises(CleanUpConfError, match="the endpoint to delete, which is empty"):
        CleanUpConf.from_conf({"confirm_deletion": "pets"})


def test_what_was_done_is_a_table() -> None:
    told = table(carry_out([Finding("model", "pets-1", "nothing serves it", None)], done="deleted", dry_run=False))

    assert told.splitlines() == [
        "what   name    why                outcome",
        "model  pets-1  nothing serves it  left",
    ]


def refused() -> Any:
    raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not you"}}, "DeleteModel")


def test_a_clean_up_that_aws_refuses_has_failed_and_has_done_the_rest() -> None:
    done: list[str] = []
    found = [
        Finding("model", "theirs", "nothing serves it", refused),
        Finding("model", "mine", "nothing serves it", lambda: done.append("mine")),
        Finding("model", "kept", "nothing serves it", None),
    ]

    assert [row.is_refused for row in carry_out(found, done="deleted", dry_run=False)] == [True, False, False]
    with pytest.raises(Exception, match="AWS refused 1 of 3: theirs"):
        _carry_out(found, "deleted", CleanUpConf())
    assert done == ["mine", "mine"]
    assert [row["outcome"] for row in _carry_out(found[1:], "deleted", CleanUpConf())] == ["deleted", "left"]

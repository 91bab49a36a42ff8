from __future__ import annotations

import pytest

from include.clean_up.conf import CleanUpConf, CleanUpConfError
from include.clean_up.findings import Finding, carry_out, table


def test_every_default_is_safe_for_a_schedule() -> None:
    conf = CleanUpConf.from_conf(None)

    assert (conf.unknown_runs, conf.keep_versions) == (False, None)


def test_all_that_is_wrong_comes_in_one_message() -> None:
    with pytest.raises(CleanUpConfError) as wrong:
        CleanUpConf.from_conf({"keep_versions": 0, "dry": True})

    assert "keep_versions = 0" in str(wrong.value)
    assert "dry = True: there are dry_run, unknown_runs" in str(wrong.value)


def test_what_was_done_is_a_table() -> None:
    told = table(carry_out([Finding("model", "pets-1", "nothing serves it", None)], done="deleted", dry_run=False))

    assert told.splitlines() == [
        "what   name    why                outcome",
        "model  pets-1  nothing serves it  left",
    ]

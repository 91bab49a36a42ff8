"""What the tests spare Airflow must not change what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.airflow_once import remembering


def test_what_passed_is_passed_over_and_what_did_not_is_refused_each_time() -> None:
    checked: list[Any] = []

    def check(schema: Any) -> None:
        checked.append(schema)
        if schema["type"] == "wrong":
            raise ValueError(schema["type"])

    check_once = remembering(check)
    for _ in range(2):
        check_once({"type": "string", "minLength": 1})
        check_once({"minLength": 1, "type": "string"})
        with pytest.raises(ValueError, match="wrong"):
            check_once({"type": "wrong"})

    assert checked == [{"type": "string", "minLength": 1}, {"type": "wrong"}, {"type": "wrong"}]

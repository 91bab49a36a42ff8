from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from demo.retrain import Summary, both, print_summary
from demo.sample_images import mislabelled_digits, turned_digits
from tests.unit.docs.commands import FIRST_RUN, terminals_of

GOOD = Summary(
    champion_before={"version": 1, "accuracy": 0.98, "dataset_version": "v1"},
    challenger={"version": 2, "accuracy": 0.99, "dataset_version": "v2", "serves": True},
    verdict={"accepted": True, "reason": "Not worse than the champion: ..."},
    accuracy_old_images={"champion": 0.98, "challenger": 0.99},
    accuracy_new_images={"champion": 0.91, "challenger": 0.97},
    client={"requests": 900, "failed": 0, "answered_by": {"champion_before": 400, "challenger": 500}, "errors": ()},
    refused={
        "version": 3,
        "accuracy": 0.61,
        "dataset_version": "v3",
        "reason": "Significantly worse than the champion",
        "endpoint_unchanged": True,
    },
    seconds=200.0,
)


def test_a_retraining_that_went_well_has_no_problems() -> None:
    assert GOOD.problems() == []


@pytest.mark.parametrize(
    ("part", "change", "problem"),
    [
        ("challenger", {"serves": False}, "The challenger was not promoted: Not worse than the champion"),
        ("client", {"failed": 2, "errors": ("503",)}, "2 of 900 requests failed"),
        (
            "client",
            {"answered_by": {"champion_before": 1, "challenger": 2, "another model": 3}},
            "A model that was not expected answered",
        ),
        ("client", {"answered_by": {"champion_before": 5, "challenger": 0}}, "The challenger answered no request."),
        ("refused", {"reason": ""}, "was not refused"),
        ("refused", {"endpoint_unchanged": False}, "changed the endpoint"),
    ],
)
def test_what_did_not_go_as_it_should_is_named(part: str, change: dict[str, Any], problem: str) -> None:
    changed = replace(GOOD, **{part: getattr(GOOD, part) | change})
    (found,) = changed.problems()
    assert problem in found


def test_the_summary_shows_both_models_on_both_kinds_of_images() -> None:
    terminal = io.StringIO()
    print_summary(Console(file=terminal, width=120), GOOD)
    shown = terminal.getvalue()
    assert "champion 0.9800, challenger 0.9900" in shown
    assert "champion 0.9100, challenger 0.9700" in shown
    assert "900 requests, 0 failed, answered 400 by champion before, 500 by challenger" in shown
    assert "unchanged by the refused model" in shown


def test_the_page_of_the_demo_shows_what_is_printed() -> None:
    _, shown = terminals_of(FIRST_RUN)
    terminal = io.StringIO()
    print_summary(Console(file=terminal, width=120), GOOD)
    rows = re.findall(r"^  ([A-Z][a-z]+(?: images)?)  ", shown, re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        assert re.search(rf"^ *{row}  ", terminal.getvalue(), re.MULTILINE)
    batches = re.findall(r"^(\d+) digits", shown, re.MULTILINE)
    assert batches == [str(len(list(turned_digits()))), str(len(list(mislabelled_digits())))]


def test_accuracies_are_those_of_the_paired_comparison() -> None:
    paired: dict[str, Any] = {"images": 3, "champion": 2 / 3, "challenger": 1.0, "difference": 1 / 3}
    assert both(paired) == {"champion": 0.666667, "challenger": 1.0}

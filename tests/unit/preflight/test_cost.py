from __future__ import annotations

from typing import Any

import pytest

from include.preflight.cost import PriceList, charges, cost_findings
from include.preflight.questions import WHOLE_CHAIN, Findings, Remembered
from include.run_conf import RunConf
from tests.support.documents import settings
from tests.unit.preflight.services import prices, refusing

HOUR = {"resources.max_runtime_seconds": 3600}
OWN = {"ml.g4dn.xlarge": 1.0, "ml.m5.large": 0.1}


def charged(conf: dict[str, Any], **installation: Any) -> dict[str, float | None]:
    whole = RunConf.from_conf({**HOUR, **conf})
    return {charge.what: charge.hours for charge in charges(whole, settings(**installation), WHOLE_CHAIN)}


def found(conf: dict[str, Any], price_list: PriceList) -> Findings:
    whole = RunConf.from_conf({**HOUR, **conf})
    return cost_findings(whole, charges(whole, settings(), WHOLE_CHAIN), price_list)


@pytest.mark.parametrize(
    ("conf", "hours"),
    [
        ({}, {"training": 1, "incremental training": 1}),
        ({"incremental.enabled": False}, {"training": 1}),
        ({"training.trials": [{"name": "a"}, {"name": "b"}]}, {"training (2 jobs)": 2, "incremental training": 1}),
        ({"training.mode": "tune", "tuning.max_jobs": 8}, {"tuning (8 jobs)": 8, "incremental training": 1}),
        (
            {"training.mode": "tune_then_train", "tuning.max_jobs": 8, "tuning.max_runtime_seconds": 7200},
            {"tuning (8 jobs)": 4, "training": 1, "incremental training": 1},
        ),
    ],
)
def test_every_job_counts_at_its_longest(conf: dict[str, Any], hours: dict[str, float]) -> None:
    assert charged(conf) == {**hours, "batch transform (2 jobs)": 12, "endpoint": None}


def test_the_champion_answers_the_held_out_images_only_where_it_is_compared() -> None:
    assert charged({"promotion.compare": "off"})["batch transform"] == 6


@pytest.mark.parametrize("mode", ["train", "both", "tune_then_train"])
def test_a_run_that_goes_on_from_a_model_pays_for_no_job_from_scratch(mode: str) -> None:
    whole = RunConf.from_conf({**HOUR, "training.mode": mode})
    found = charges(whole, settings(), WHOLE_CHAIN, goes_on=True)
    assert [charge.what for charge in found] == ["incremental training", "batch transform (2 jobs)", "endpoint"]


def test_a_warm_pool_is_paid_for_and_spot_has_none() -> None:
    assert charged({}, keep_alive_seconds=1800)["training"] == 1.5
    assert charged({"resources.spot": True}, keep_alive_seconds=1800)["training"] == 1


def test_the_table_adds_up_and_tells_the_endpoint_apart() -> None:
    table = "\n".join(found({"resources.max_cost": 5}, PriceList(OWN, "eu-central-1")).table)
    assert "incremental training" in table
    assert "0.1000 an hour, as long as it is kept" in table
    assert "3.20 of resources.max_cost 5.00" in table


def test_a_run_that_could_cost_more_than_allowed_is_refused() -> None:
    (problem,) = found({"resources.max_cost": 2}, PriceList(OWN, "eu-central-1")).problems
    assert str(problem) == (
        "resources.max_cost = 2.0: the run could cost 3.20 USD: lower resources.max_runtime_seconds, the jobs or the "
        "machines, or raise it"
    )


def test_a_limit_that_cannot_be_held_asks_for_prices() -> None:
    (problem,) = found({"resources.max_cost": 50}, PriceList({"ml.m5.large": 0.1}, "eu-central-1")).problems
    assert str(problem) == (
        "resources.max_cost = 50.0: cannot be checked: the price of ml.g4dn.xlarge is not known; name it in "
        "settings.prices (USD an hour)"
    )


def test_without_a_limit_unknown_prices_are_said() -> None:
    nothing = found({}, PriceList({}, "eu-central-1"))
    assert nothing.problems == ()
    assert nothing.table == (
        "What the run can cost is not known: no price of ml.g4dn.xlarge, ml.m5.large (settings.prices may name them).",
    )


def test_prices_come_from_the_list_by_what_a_machine_does_and_are_remembered(s3: Any) -> None:
    remembered = Remembered(s3, "models-of-acme", "prices-today")
    listed = prices([{"Training": 0.736}], [{"Hosting": 0.115}, {"Batch Transform": 0.12}])
    table = "\n".join(found({}, PriceList({}, "eu-central-1", listed, remembered)).table)
    assert "0.7360" in table
    assert "0.1150 an hour, as long" in table
    assert remembered.read() == {
        "ml.g4dn.xlarge training": 0.736,
        "ml.m5.large hosting": 0.115,
        "ml.m5.large batchtransform": 0.12,
    }
    again = PriceList({}, "eu-central-1", None, remembered)
    assert again.price("ml.g4dn.xlarge", "training") == 0.736


def test_a_price_list_that_may_not_be_read_is_a_note() -> None:
    denied = PriceList(OWN | {"ml.m5.large": 0.1}, "eu-central-1", refusing("pricing", "get_products"))
    assert found({"endpoint.instance_type": "ml.c5.large"}, denied).notes == ("prices: GetProducts is not permitted",)

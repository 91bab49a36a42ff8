from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from include.deployment.hosting import Hosting
from include.preflight import WHOLE_CHAIN, Findings, Remembered
from include.preflight.machines import (
    Need,
    PriceList,
    charges,
    cost_findings,
    endpoint_findings,
    machine_problems,
    needs,
    quota_findings,
    serverless_problems,
)
from include.run_conf import RunConf
from tests.support.documents import settings
from tests.unit.preflight.services import prices, quotas, refusing

TRAINING = "ml.g4dn.xlarge for training job usage"
HOUR = {"resources.max_runtime_seconds": 3600}
OWN = {"ml.g4dn.xlarge": 1.0, "ml.m5.large": 0.1}


def needed(conf: dict[str, Any], **installation: Any) -> dict[str, int]:
    asked = needs(RunConf.from_conf(conf), settings(**installation), WHOLE_CHAIN)
    return {need.name: need.least for need in asked}


def test_a_run_needs_machines_for_training_transform_and_endpoint() -> None:
    assert needed({}) == {TRAINING: 1, "ml.m5.large for transform job usage": 1, "ml.m5.large for endpoint usage": 1}


def test_a_tuning_job_needs_all_machines_of_its_parallel_jobs() -> None:
    tune = {"training.mode": "tune", "tuning.max_jobs": 9, "tuning.max_parallel_jobs": 3}
    several = {"resources.instance_count": 2, "training.hyperparameters.kv_store": "dist_sync"}
    assert needed({**tune, **several, "endpoint.deploy": False}) == {
        TRAINING: 6,
        "parallel training jobs per hyperparameter tuning job": 3,
        "ml.m5.large for transform job usage": 1,
    }


def test_spot_and_warm_pools_have_quotas_of_their_own() -> None:
    assert "ml.g4dn.xlarge for spot training job usage" in needed({"resources.spot": True}, keep_alive_seconds=600)
    assert needed({}, keep_alive_seconds=600)["ml.g4dn.xlarge for training warm pool usage"] == 1


def test_a_quota_is_found_by_the_end_of_its_name() -> None:
    assert Need("", "", TRAINING, 1).is_of(TRAINING)
    assert not Need("", "", TRAINING, 1).is_of("ml.g4dn.xlarge for spot training job usage")
    parallel = "Maximum number of parallel training jobs per hyperparameter tuning job"
    assert Need("", "", "parallel training jobs per hyperparameter tuning job", 1).is_of(parallel)


def test_codes_are_listed_once(s3: Any) -> None:
    need = Need("resources.instance_type", "ml.g4dn.xlarge", TRAINING, 1)
    remembered = Remembered(s3, "models-of-acme", "quota-codes-eu-central-1")
    assert not quota_findings(quotas((TRAINING, 2)), remembered, [need], "eu-central-1").problems
    assert remembered.read() == {TRAINING: "L-00000000"}

    (problem,) = quota_findings(unlisted_answers(), remembered, [need], "eu-central-1").problems
    assert "is 0 and the run needs 1" in problem.remedy


def unlisted_answers() -> Any:
    """Quotas that are asked by code at once."""

    class Quotas:
        @staticmethod
        def get_service_quota(**asked: str) -> dict[str, Any]:
            assert asked == {"ServiceCode": "sagemaker", "QuotaCode": "L-00000000"}
            return {"Quota": {"Value": 0.0}}

    return Quotas()


def test_jobs_that_do_not_fit_side_by_side_take_turns(s3: Any) -> None:
    trials = {"training.trials": [{"name": "a"}, {"name": "b"}], "training.mode": "both", "tuning.max_parallel_jobs": 2}
    need = needs(RunConf.from_conf(trials), settings(), WHOLE_CHAIN)[0]
    assert (need.least, need.most) == (2, 4)

    found = quota_findings(quotas((TRAINING, 3)), Remembered(s3, "models-of-acme", "codes"), [need], "eu-central-1")

    assert found.problems == ()
    assert found.notes == (f"quota: '{TRAINING}' is 3, and the run's jobs need at once 4: some wait",)


def test_a_run_that_goes_on_from_a_model_needs_machines_for_one_job() -> None:
    tune = {"training.mode": "both", "tuning.max_parallel_jobs": 2}
    need = needs(RunConf.from_conf(tune), settings(), WHOLE_CHAIN, goes_on=True)[0]
    assert (need.least, need.most) == (1, 0)


@pytest.mark.parametrize(("kind", "most"), [("all_at_once", 8), ("canary", 8), ("rolling", 5)])
def test_an_update_runs_old_and_new_machines_side_by_side(s3: Any, kind: str, most: int) -> None:
    conf = RunConf.from_conf({"endpoint": {"instance_count": 4, "rollout": {"kind": kind}}})
    need = needs(conf, settings(), {"endpoint"})[0]
    assert (need.least, need.most) == (4, most)

    hosting = quotas(("ml.m5.large for endpoint usage", 4))
    found = quota_findings(hosting, Remembered(s3, "models-of-acme", "codes"), [need], "eu-central-1")

    assert found.problems == ()
    (note,) = found.notes
    assert f"is 4, and an endpoint that serves already runs {most} while it is updated: ask for more" in note


SERVERLESS = {"endpoint.serverless.memory_mb": 2048}


def test_a_serverless_endpoint_needs_no_machines_and_is_not_charged_by_the_hour() -> None:
    conf = RunConf.from_conf({**SERVERLESS, "endpoint.instance_type": "ml.none.large"})
    assert needs(conf, settings(), {"endpoint"}) == []
    assert charges(conf, settings(), {"endpoint"}) == []
    assert list(machine_problems(conf, {"endpoint"})) == []


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ({"subnets": ["subnet-a"], "security_group_ids": ["sg-1"]}, "subnets"),
        ({"network_isolation": True}, "network_isolation"),
    ],
)
def test_a_serverless_endpoint_has_no_network_of_its_own(given: dict[str, Any], setting: str) -> None:
    (problem,) = serverless_problems(RunConf.from_conf(SERVERLESS), settings(**given), {"endpoint"})
    assert problem.field == "endpoint.serverless.memory_mb"
    assert f"settings.{setting} requires one" in problem.remedy
    assert list(serverless_problems(RunConf(), settings(**given), {"endpoint"})) == []


MACHINES = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
MEMORY = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 1}}


def on_live(variant: dict[str, Any], conf: dict[str, Any], *policies: dict[str, Any], keep: str = "true") -> list[str]:
    """What is wrong with a run that deploys to the endpoint `live`, which has this variant and these policies."""
    sagemaker = SimpleNamespace(
        describe_endpoint=lambda **_: {
            "EndpointConfigName": "config",
            "EndpointStatus": "InService",
            "EndpointArn": "arn",
        },
        describe_endpoint_config=lambda **_: {"ProductionVariants": [variant]},
        get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [{"Tags": [{"Key": "keep", "Value": keep}]}]),
    )
    scaling = SimpleNamespace(
        describe_scaling_policies=lambda **_: {"ScalingPolicies": policies},
        describe_scheduled_actions=lambda **_: {"ScheduledActions": []},
    )
    live = RunConf.from_conf({**conf, "endpoint.name": "live"})
    return [str(problem) for problem in endpoint_findings(Hosting(sagemaker, None, scaling), live).problems]  # type: ignore[arg-type]


def test_an_endpoint_with_machines_cannot_become_serverless() -> None:
    assert on_live(MACHINES, SERVERLESS) == [
        "endpoint.serverless.memory_mb = 2048: endpoint live has machines and cannot become serverless: "
        "give another endpoint.name"
    ]
    assert on_live(MEMORY, SERVERLESS) == []


def test_a_serverless_endpoint_that_serves_does_not_get_machines() -> None:
    assert on_live(MEMORY, {}) == [
        "endpoint.serverless.memory_mb = nothing: endpoint live is serverless and could not go back from machines to "
        "that: give another endpoint.name, or the memory that it has"
    ]
    assert on_live(MACHINES, {}) == []


def test_a_run_that_deletes_its_endpoint_does_not_deploy_to_one_that_serves_others() -> None:
    trial = {"endpoint.keep": False}
    assert on_live(MACHINES, trial) == [
        "endpoint.keep = False: endpoint live serves config and is to be kept, and this run would delete the endpoint "
        "at its end: give another endpoint.name, or leave endpoint.keep on"
    ]
    assert on_live(MACHINES, trial, keep="false") == []


OURS = {
    "PolicyName": "image-classification-live",
    "TargetTrackingScalingPolicyConfiguration": {
        "TargetValue": 600.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        "DisableScaleIn": False,
    },
}
STEPS = {"PolicyName": "nights", "StepScalingPolicyConfiguration": {}}
SLOWER = {
    "PolicyName": "image-classification-live",
    "TargetTrackingScalingPolicyConfiguration": {
        **OURS["TargetTrackingScalingPolicyConfiguration"],  # type: ignore[dict-item]
        "ScaleInCooldown": 900,
    },
}


@pytest.mark.parametrize(("policies", "lost"), [([STEPS], "nights"), ([OURS, SLOWER], "image-classification-live")])
def test_another_machine_is_refused_if_it_ends_a_policy_that_a_person_made(
    policies: list[dict[str, Any]], lost: str
) -> None:
    larger = {"endpoint.instance_type": "ml.c5.xlarge"}
    assert on_live(MACHINES, larger, *policies) == [
        "endpoint.instance_type = ml.c5.xlarge: endpoint live has ml.m5.large, and another machine ends the scaling "
        f"policies and scheduled actions that were made by hand: {lost}. Keep the machine, delete these, or give "
        "another endpoint.name"
    ]
    assert on_live(MACHINES, larger, OURS) == on_live(MACHINES, {}, *policies) == []


def test_a_quota_that_nobody_lists_is_a_note(s3: Any) -> None:
    need = Need("resources.instance_type", "ml.g5.xlarge", "ml.g5.xlarge for training job usage", 1)
    found = quota_findings(quotas((TRAINING, 2)), Remembered(s3, "models-of-acme", "codes"), [need], "eu-central-1")
    assert found.problems == ()
    assert found.notes == ("quota: none is listed for ml.g5.xlarge for training job usage",)


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

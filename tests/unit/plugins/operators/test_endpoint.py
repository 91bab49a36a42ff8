"""A deployment whose task is killed anywhere ends as one that is not: the model is promoted, or nothing has changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from image_classification.context import AwsAccess, RunningTask
from image_classification.operators.endpoint import EndpointOperator, idle_tasks
from include.deployment.endpoint import Deployment, deployment_of
from include.deployment.hosting import Hosting, NoWayBackError, tear_down
from include.deployment.registry import RegisteredModel
from include.deployment.traffic import DIMENSION, Scaling, live_scaling
from include.promotion.champion import PROMOTED_TAG
from include.run_conf import RunConf
from include.sagemaker.naming import tags_of
from tests.support.changing_endpoints import ChangingEndpoints, KilledError, killed_at, replace_tags
from tests.support.documents import VARIABLE, settings

GROUP = "image-classification-pets"
SEEDS = 20
MOST_KILLS = 8


@pytest.mark.parametrize(
    ("conf", "approval", "idle"),
    [
        ({}, "Approved", {"deployment.tear_down"}),
        ({"endpoint.keep": False}, "Approved", set()),
        ({"endpoint.keep": False}, "PendingManualApproval", {"deployment.deploy", "deployment.tear_down"}),
        ({"endpoint.deploy": False}, "Approved", {"deployment.deploy", "deployment.tear_down"}),
    ],
)
def test_of_a_deployment_only_the_tasks_run_that_have_something_to_do(
    conf: dict[str, Any], approval: Any, idle: set[str]
) -> None:
    model = RegisteredModel.model_construct(approval=approval)

    assert set(idle_tasks(RunConf.from_conf(conf), model)) == idle


@pytest.fixture(scope="module")
def clients() -> dict[str, Any]:
    """One client of each service for all tests: reading SageMaker's model takes half a second."""
    known = {"region_name": VARIABLE["region"], "config": Config(signature_version=UNSIGNED)}
    return {
        service: boto3.client(service, **known) for service in ("sagemaker", "cloudwatch", "application-autoscaling")
    }  # type: ignore[call-overload]


@dataclass(frozen=True)
class Access(AwsAccess):
    """Reaches moto."""

    known: Mapping[str, Any] | None = None

    def client(self, service: str) -> Any:
        return (self.known or {}).get(service)

    def as_fields(self) -> dict[str, Any]:
        return {}

    def endpoint(self, service: str) -> str:
        return f"https://{service}.test"


@dataclass
class Chain:
    """Deployments to one endpoint, each by a run of its own; `wrong` are the versions that answer wrongly."""

    sagemaker: ChangingEndpoints
    access: Access
    wrong: frozenset[int] = frozenset()
    kills: int = 0
    rollout: str = ""
    """That of the endpoint which the last task handed on."""
    deployments: dict[int, Deployment] = field(default_factory=dict)
    """Those that a conf without wishes asks for, by version."""

    def deploy(self, version: int, *, run: str = "", **conf: Any) -> str:
        """How the task of a run ends, however often it is killed: `promoted`, or the message of its failure."""
        while True:
            try:
                return self.attempt(version, run or f"run-{version}", **conf)
            except KilledError:
                self.kills += 1

    def attempt(self, version: int, run: str, **conf: Any) -> str:
        """One attempt of the task, up to its end or to a kill."""
        task = SimpleNamespace(dag_id="chain", run_id=run, task_id="deployment.deploy")
        operator, context = self._operator(version, conf), {"ti": task}
        method, arguments = operator.execute, {}
        while True:
            try:
                self.rollout = method(context, **arguments)["rollout"]  # type: ignore[arg-type]
            except TaskDeferred as deferred:
                self.sagemaker.settle()
                event = {"name": "pets", "status": "InService"}
                method, arguments = getattr(operator, deferred.method_name), {"event": event, **(deferred.kwargs or {})}
            except (AirflowFailException, AirflowSkipException) as error:
                return str(error)
            else:
                return "promoted"

    def _operator(self, version: int, conf: Mapping[str, Any]) -> EndpointOperator:
        def deployment(running: RunningTask, _: Mapping[str, Any]) -> Deployment:
            asked = RunConf.from_conf({"dataset.name": "pets", **conf})
            return deployment_of(registered(version), conf=asked, settings=running.settings, run=running.run)

        differences = ["dog.jpg is cat 90.0%, and was dog 99.0% in the evaluation"] if version in self.wrong else []
        test: Any = SimpleNamespace(images=(), differences=lambda *_: differences)
        return EndpointOperator(
            task_id="deploy", deployment=deployment, smoke_test=lambda *_: test, check=lambda *_: None, inputs={}
        )

    def config(self, version: int) -> str:
        return self.deployment(version).config_name

    def deployment(self, version: int) -> Deployment:
        if version not in self.deployments:
            self.deployments[version] = self._operator(version, {}).deployment(self.running, {})
        return self.deployments[version]

    @property
    def running(self) -> RunningTask:
        return RunningTask({"ti": SimpleNamespace(dag_id="", run_id="", task_id="")}, settings(), self.access)  # type: ignore[typeddict-item]

    def kept(self) -> dict[str, set[int]]:
        """The versions of which there is a configuration, and a model."""
        configs = {each["EndpointConfigName"] for each in self.sagemaker.list_endpoint_configs()["EndpointConfigs"]}
        models = {each["ModelName"] for each in self.sagemaker.list_models()["Models"]}
        versions = range(1, 5)
        return {
            "configs": {version for version in versions if self.config(version) in configs},
            "models": {version for version in versions if self.deployment(version).model["ModelName"] in models},
        }

    def tags(self) -> dict[str, str]:
        described = self.sagemaker.describe_endpoint(EndpointName="pets")
        return tags_of(self.sagemaker, described["EndpointArn"])  # type: ignore[arg-type]

    def scaling(self) -> Scaling | None:
        return live_scaling(self.access.client("application-autoscaling"), "pets")

    def state(self) -> dict[str, Any]:
        """Which version serves and which one was promoted; None if there is no endpoint, or no promotion."""
        group = self.sagemaker.describe_model_package_group(ModelPackageGroupName=GROUP)["ModelPackageGroupArn"]
        promoted = tags_of(self.sagemaker, group).get(PROMOTED_TAG)  # type: ignore[arg-type]
        endpoints = self.sagemaker.list_endpoints()["Endpoints"]
        described = self.sagemaker.describe_endpoint(EndpointName="pets") if endpoints else {}
        configs = {self.config(version): version for version in range(1, 5)}
        return {
            "status": described.get("EndpointStatus"),
            "serves": configs.get(described.get("EndpointConfigName", "")),
            "promoted": int(promoted.rpartition("/")[2]) if promoted else None,
        }


def registered(version: int) -> RegisteredModel:
    return RegisteredModel(
        arn=f"arn:aws:sagemaker:eu-central-1:123456789012:model-package/{GROUP}/{version}",
        group=GROUP,
        version=version,
        approval="Approved",
        artifact=f"s3://models-of-acme/jobs/{version}/output/model.tar.gz",
        image="image",
        job=f"job-{version}",
        dataset="pets",
        dataset_version="v",
        dataset_uri="s3://images-of-acme/datasets/pets/v/",
        accuracy=0.9,
    )


@pytest.fixture
def chain(clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Chain]]:
    replace_tags(monkeypatch)
    with mock_aws():
        clients["sagemaker"].create_model_package_group(ModelPackageGroupName=GROUP)

        def make(*wrong: int) -> Chain:
            sagemaker = ChangingEndpoints(clients["sagemaker"])
            access = Access(known={**clients, "sagemaker": sagemaker})
            monkeypatch.setattr(RunningTask, "of", lambda context: RunningTask(context, settings(), access))
            return Chain(sagemaker, access, frozenset(wrong))

        yield make


def test_a_model_that_answers_as_in_its_evaluation_is_promoted(chain: Callable[..., Chain]) -> None:
    pets = chain()
    assert [pets.deploy(1), pets.deploy(2)] == ["promoted", "promoted"]
    assert pets.state() == {"status": "InService", "serves": 2, "promoted": 2}


def test_a_model_that_answers_otherwise_gives_way_to_the_one_before(chain: Callable[..., Chain]) -> None:
    pets = chain(2)
    pets.deploy(1)
    message = pets.deploy(2)
    assert message == (
        f"Endpoint pets did not pass the smoke test with {pets.config(2)} (image-classification-pets version 2): "
        f"dog.jpg is cat 90.0%, and was dog 99.0% in the evaluation. It serves {pets.config(1)} "
        "(image-classification-pets version 1) again."
    )
    assert pets.state() == {"status": "InService", "serves": 1, "promoted": 1}
    assert pets.sagemaker.updates[-1] == {"EndpointName": "pets", "EndpointConfigName": pets.config(1)}


def test_a_wrong_model_for_which_aws_has_no_way_back_is_named_until_the_next_try_finds_one(
    chain: Callable[..., Chain],
) -> None:
    pets = chain(2)
    pets.deploy(1)

    def full_from_now_on(call: str) -> None:
        pets.sagemaker.refuses_updates |= call == "update_endpoint"

    pets.sagemaker.strike = full_from_now_on
    with pytest.raises(NoWayBackError) as refused:
        pets.attempt(2, "run-2")
    assert f"It still serves this model, because AWS refuses the update to {pets.config(1)}" in str(refused.value)
    assert "no machines are left. The next try of this task asks again." in str(refused.value)
    assert pets.state() == {"status": "InService", "serves": 2, "promoted": 1}

    pets.sagemaker.refuses_updates, pets.sagemaker.strike = False, lambda _: None
    assert pets.attempt(2, "run-2").endswith("(image-classification-pets version 1) again.")
    assert pets.state() == {"status": "InService", "serves": 1, "promoted": 1}


def test_an_endpoint_that_was_created_with_a_wrong_model_is_deleted(chain: Callable[..., Chain]) -> None:
    pets = chain(1)
    assert pets.deploy(1).endswith("It was created with this model, so it was deleted.")
    assert pets.state() == {"status": None, "serves": None, "promoted": None}


def test_a_model_that_has_passed_before_is_not_taken_away(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1)
    pets.wrong = frozenset({1})
    assert pets.deploy(1, run="again").endswith("It has passed before, so it still serves this model.")
    assert pets.state() == {"status": "InService", "serves": 1, "promoted": 1}


@pytest.mark.parametrize(("keep", "kept"), [(1, {3, 4}), (2, {2, 3, 4}), (9, {1, 2, 3, 4})])
def test_so_many_earlier_models_stay_as_are_to_be_kept(chain: Callable[..., Chain], keep: int, kept: set[int]) -> None:
    pets = chain()
    for version in range(1, 5):
        assert pets.deploy(version, **{"endpoint.keep_previous": keep}) == "promoted"
    assert pets.kept() == {"configs": kept, "models": kept}


def test_a_model_that_serves_again_is_none_of_the_earlier_ones(chain: Callable[..., Chain]) -> None:
    pets = chain()
    for version in (1, 2):
        pets.deploy(version)
    assert pets.deploy(1, run="rollback") == "promoted"
    assert pets.kept() == {"configs": {1, 2}, "models": {1, 2}}
    assert pets.deploy(3) == "promoted"
    assert pets.kept() == {"configs": {1, 3}, "models": {1, 3}}


def test_a_refused_model_takes_no_place_among_the_earlier_ones(chain: Callable[..., Chain]) -> None:
    pets = chain(3)
    for version in (1, 2, 3, 4):
        pets.deploy(version)
    assert pets.state()["promoted"] == 4
    assert {2, 4} <= pets.kept()["configs"] <= {2, 3, 4}


def test_an_earlier_model_that_another_endpoint_serves_stays(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1)
    pets.sagemaker.create_endpoint(EndpointName="beside", EndpointConfigName=pets.config(1))
    for version in (2, 3):
        pets.deploy(version)
    assert pets.kept() == {"configs": {1, 2, 3}, "models": {1, 2, 3}}


TRIAL = {"endpoint.keep": False}


def test_a_trial_changes_nothing_of_an_endpoint_that_serves_others(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1)
    message = pets.deploy(2, **TRIAL)
    assert message == (
        f"Endpoint pets was not changed. endpoint.keep = False: endpoint pets serves {pets.config(1)} "
        "(image-classification-pets version 1) and is to be kept, and this run would delete the endpoint at its end: "
        "give another endpoint.name, or leave endpoint.keep on."
    )
    assert (pets.sagemaker.updates, pets.kept()) == ([], {"configs": {1}, "models": {1}})
    assert pets.tags()["keep"] == "true"
    assert tear_down(Hosting.of(pets.access.client), "pets", config=pets.config(1), unkept_only=True) == []


@pytest.mark.parametrize("fault", ["wrong answers", "an alarm", "refused"])
def test_a_deployment_that_fails_leaves_the_endpoint_the_tags_of_the_run_before(
    chain: Callable[..., Chain], fault: str
) -> None:
    pets = chain(*([2] if fault == "wrong answers" else []))
    pets.deploy(1, **TRIAL)
    if fault == "an alarm":
        pets.sagemaker.undone = lambda _: "an alarm"
    if fault == "refused":
        pets.sagemaker.refuses_updates = True
        with pytest.raises(ClientError, match="no machines are left"):
            pets.deploy(2)
    else:
        pets.deploy(2)
    assert (pets.tags()["keep"], pets.tags()["run"]) == ("false", "run-1")


def test_a_model_that_has_passed_writes_the_tags_of_its_run(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **TRIAL)
    pets.deploy(1, run="again", **TRIAL)
    assert (pets.tags()["keep"], pets.tags()["run"]) == ("false", "again")
    pets.deploy(2)
    assert (pets.tags()["keep"], pets.tags()["run"]) == ("true", "run-2")


def test_a_trial_does_not_take_down_what_a_later_run_keeps(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **TRIAL)
    pets.deploy(1, run="kept")
    services = Hosting.of(pets.access.client)
    assert tear_down(services, "pets", config=pets.config(1), unkept_only=True) == []
    assert pets.state()["serves"] == 1


SCALED = {"endpoint.autoscaling": {"minimum": 1, "maximum": 4, "target": 600}}
OTHER_MACHINE = {**SCALED, "endpoint.instance_type": "ml.c5.xlarge"}


def test_an_endpoint_is_scaled_once_its_model_is_promoted_and_keeps_its_count(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **SCALED)
    assert pets.scaling() == Scaling(1, 4, 600)
    pets.deploy(2, **SCALED)
    assert pets.sagemaker.updates[-1]["RetainAllVariantProperties"] is True
    assert pets.scaling() == Scaling(1, 4, 600)


def test_other_bounds_change_no_machine_and_none_end_the_scaling(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **SCALED)
    pets.deploy(1, run="more", **{"endpoint.autoscaling": {"minimum": 1, "maximum": 8, "target": 300}})
    assert (pets.scaling(), pets.sagemaker.updates) == (Scaling(1, 8, 300), [])
    pets.deploy(1, run="fixed")
    assert (pets.scaling(), pets.sagemaker.updates) == (None, [])


def test_what_a_person_scaled_by_hand_stays_until_something_else_is_asked(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **SCALED)
    where = {"ServiceNamespace": "sagemaker", "ScalableDimension": DIMENSION}
    pets.access.client("application-autoscaling").register_scalable_target(
        **where, ResourceId="endpoint/pets/variant/champion", MinCapacity=2, MaxCapacity=9
    )
    pets.deploy(2, **SCALED)
    assert pets.scaling() == Scaling(2, 9, 600)
    pets.deploy(3, **{"endpoint.autoscaling": {"minimum": 1, "maximum": 5, "target": 600}})
    assert pets.scaling() == Scaling(1, 5, 600)


def test_scaling_pauses_while_the_machine_changes(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **SCALED)
    registered_while_updating = []
    pets.sagemaker.strike = lambda call: (
        registered_while_updating.append(pets.scaling()) if call == "update_endpoint" else None
    )
    assert pets.deploy(2, **OTHER_MACHINE) == "promoted"
    assert registered_while_updating == [None]
    assert pets.scaling() == Scaling(1, 4, 600)


@pytest.mark.parametrize("fault", ["wrong answers", "an alarm"])
def test_scaling_comes_back_with_the_machine(chain: Callable[..., Chain], fault: str) -> None:
    pets = chain(*([2] if fault == "wrong answers" else []))
    pets.deploy(1, **SCALED)
    if fault == "an alarm":
        pets.sagemaker.undone = lambda _: "an alarm"
    assert pets.deploy(2, **OTHER_MACHINE) != "promoted"
    assert pets.scaling() == Scaling(1, 4, 600)
    assert pets.state()["promoted"] == 1


def test_scaling_comes_back_if_aws_refuses_the_update(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **SCALED)
    pets.sagemaker.refuses_updates = True
    with pytest.raises(ClientError, match="no machines are left"):
        pets.deploy(2, **OTHER_MACHINE)
    assert pets.scaling() == Scaling(1, 4, 600)


def test_scaling_comes_back_if_another_run_has_changed_the_endpoint(chain: Callable[..., Chain]) -> None:
    pets = chain()
    for version in (3, 1):
        pets.deploy(version, **SCALED)

    def overtaken(call: str) -> None:
        if call == "update_endpoint":
            pets.sagemaker.aim("pets", pets.config(3))

    pets.sagemaker.strike = overtaken
    assert "Another run has changed endpoint pets" in pets.deploy(2, **OTHER_MACHINE)
    assert pets.scaling() == Scaling(1, 4, 600)


FAILURES = {"wrong answers": "dog.jpg is cat 90.0%", "an alarm": "(an alarm)"}


@pytest.mark.parametrize("fault", FAILURES)
def test_a_scaling_that_cannot_come_back_hides_no_other_failure(
    chain: Callable[..., Chain], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    pets = chain(*([2] if fault == "wrong answers" else []))
    pets.deploy(1, **SCALED)
    if fault == "an alarm":
        pets.sagemaker.undone = lambda _: "an alarm"

    def throttled(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow"}}, "RegisterScalableTarget")

    scaling = pets.access.client("application-autoscaling")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "register_scalable_target", throttled)
        assert FAILURES[fault] in pets.deploy(2, **OTHER_MACHINE)
    assert "Endpoint pets is not scaled until the next deployment to it" in caplog.text
    pets.sagemaker.undone = lambda _: None
    pets.deploy(1, run="again", **SCALED)
    assert pets.scaling() == Scaling(1, 4, 600)


def test_policies_and_schedules_that_a_person_made_are_not_lost_to_another_machine(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **SCALED)
    where = {"ServiceNamespace": "sagemaker", "ScalableDimension": DIMENSION}
    steps = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [{"ScalingAdjustment": 2}]}
    scaling = pets.access.client("application-autoscaling")
    scaling.put_scaling_policy(
        **where,
        ResourceId="endpoint/pets/variant/champion",
        PolicyName="nights",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration=steps,
    )
    scaling.put_scheduled_action(
        **where,
        ResourceId="endpoint/pets/variant/champion",
        ScheduledActionName="weekends",
        Schedule="cron(0 0 ? * SAT *)",
        ScalableTargetAction={"MinCapacity": 0},
    )
    message = pets.deploy(2, **OTHER_MACHINE)
    assert "scaling policies and scheduled actions that were made by hand: nights, weekends" in message
    kept = scaling.describe_scaling_policies(**where)["ScalingPolicies"]
    assert {policy["PolicyName"] for policy in kept} == {"image-classification-pets", "nights"}
    assert pets.deploy(2, **SCALED) == "promoted"


def test_a_task_that_is_killed_at_any_call_leaves_the_scaling_as_asked(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **SCALED)
    for place in places(pets):
        assert pets.deploy(2, **OTHER_MACHINE) == "promoted"
        assert pets.scaling() == Scaling(1, 4, 600), place
        if not pets.kills:
            return


def test_an_endpoint_that_is_taken_down_is_scaled_no_more(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1, **SCALED)
    tear_down(Hosting.of(pets.access.client), "pets")
    assert pets.scaling() is None


def test_a_model_whose_run_was_killed_before_the_test_is_not_what_the_next_one_goes_back_to(
    chain: Callable[..., Chain],
) -> None:
    pets = chain(3)
    pets.deploy(1)
    pets.sagemaker.strike = killed_after("update_endpoint")
    with pytest.raises(KilledError):
        pets.attempt(2, "run-2")
    pets.sagemaker.settle()
    pets.sagemaker.strike = lambda _: None
    assert pets.state() == {"status": "InService", "serves": 2, "promoted": 1}

    pets.deploy(3)

    assert pets.state() == {"status": "InService", "serves": 1, "promoted": 1}


def killed_after(name: str) -> Callable[[str], None]:
    def strike(call: str) -> None:
        if call == name:
            raise KilledError(call)

    return strike


def test_an_update_that_an_alarm_undid_fails_the_run_and_promotes_nothing(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1)
    canary = {"endpoint.rollout.kind": "canary"}
    pets.sagemaker.undone = lambda _: "The CloudWatch alarm image-classification-pets-latency is in the ALARM state."
    message = pets.deploy(2, **canary)
    assert "image-classification-pets-latency is in the ALARM state" in message
    assert message.endswith(f"; {pets.config(1)} (image-classification-pets version 1) still serves.")
    assert pets.state() == {"status": "InService", "serves": 1, "promoted": 1}


@pytest.mark.parametrize("kind", ["canary", "linear", "rolling"])
def test_a_rollout_in_steps_is_reported_where_it_has_happened(kind: str, chain: Callable[..., Chain]) -> None:
    pets, asked = chain(), {"endpoint.rollout.kind": kind}
    reported = {}
    for story, version, conf in (
        ("created", 1, asked),
        ("updated", 2, asked),
        ("unchanged", 2, asked),
        ("all at once", 3, {}),
    ):
        assert pets.deploy(version, **conf) == "promoted"
        reported[story] = pets.rollout
    assert reported == {"created": "", "updated": kind, "unchanged": "", "all at once": ""}


def test_the_rollout_of_a_killed_task_is_reported_by_the_next_attempt(chain: Callable[..., Chain]) -> None:
    pets = chain()
    pets.deploy(1)
    pets.sagemaker.strike = killed_after("update_endpoint")
    assert pets.deploy(2, **{"endpoint.rollout.kind": "canary"}) == "promoted"
    assert (pets.kills, pets.rollout) == (1, "canary")


OUTCOMES = {
    "the first model": ((1,), (), {"status": "InService", "serves": 1, "promoted": 1}),
    "a first model that answers wrongly": ((1,), (1,), {"status": None, "serves": None, "promoted": None}),
    "a better model": ((1, 2), (), {"status": "InService", "serves": 2, "promoted": 2}),
    "a third model": ((1, 2, 3), (), {"status": "InService", "serves": 3, "promoted": 3}),
    "a model that answers wrongly": ((1, 2), (2,), {"status": "InService", "serves": 1, "promoted": 1}),
}


@pytest.mark.parametrize("story", OUTCOMES)
def test_a_task_that_is_killed_at_any_call_ends_as_one_that_is_not(story: str, chain: Callable[..., Chain]) -> None:
    versions, wrong, expected = OUTCOMES[story]
    pets = chain(*wrong)
    for version in versions[:-1]:
        pets.deploy(version)
    for place in places(pets):
        pets.deploy(versions[-1])
        assert pets.state() == expected, place
        assert len(pets.kept()["configs"]) <= 2, place
        assert len(updates_to(pets, versions[-1])) <= 1, place
        if not pets.kills:
            assert place > 4
            return


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_task_that_is_killed_again_and_again_ends_as_one_that_is_not(seed: int, chain: Callable[..., Chain]) -> None:
    dice = random.Random(seed)
    versions, wrong, expected = OUTCOMES[dice.choice(list(OUTCOMES))]
    pets = chain(*wrong)
    for version in versions[:-1]:
        pets.deploy(version)

    def strike(call: str) -> None:
        if pets.kills < MOST_KILLS and dice.random() < 0.3:
            raise KilledError(call)

    pets.sagemaker.strike = strike
    pets.deploy(versions[-1])
    pets.sagemaker.strike = lambda _: None

    assert pets.state() == expected
    assert len(pets.kept()["configs"]) <= 2


def updates_to(pets: Chain, version: int) -> list[Any]:
    return [update for update in pets.sagemaker.updates if update["EndpointConfigName"] == pets.config(version)]


def places(pets: Chain) -> Iterator[int]:
    """The calls at which the next task is killed, one after the other: each time everything begins as it is now."""
    begin_again = pets.sagemaker.remember()
    for place in count():
        begin_again()
        pets.kills, pets.sagemaker.strike = 0, killed_at(place)
        yield place

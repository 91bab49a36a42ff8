"""Updates that move traffic in steps, watched by alarms, while clients ask the endpoint all the time."""

from __future__ import annotations

import collections
import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_aws.aws_errors import AwsError
from local_aws.sagemaker.hosting.rollout import CancelledError, Plan, RollBackError, Stage, Watch
from tests.local_aws.sagemaker.conftest import Scripted, unique, wait_for
from tests.support.asking_clients import Clients, asking

INSTANCES = 4
NEVER = 3600


def blue_green(kind: str, wait: int = 0, size: int | None = None, **policy: Any) -> dict[str, Any]:
    """A blue/green policy with a size in percent."""
    sizes = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}
    routing: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": wait}
    if size is not None:
        routing[sizes[kind]] = {"Type": "CAPACITY_PERCENT", "Value": size}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **policy}}


def rolling(kind: str, value: int, wait: int = 0) -> dict[str, Any]:
    return {"RollingUpdatePolicy": {"MaximumBatchSize": {"Type": kind, "Value": value}, "WaitIntervalInSeconds": wait}}


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        ({}, (1.0,)),
        (blue_green("ALL_AT_ONCE"), (1.0,)),
        (blue_green("CANARY", size=10), (0.1, 1.0)),
        (blue_green("LINEAR", size=25), (0.25, 0.5, 0.75, 1.0)),
        (blue_green("LINEAR", size=40), (0.4, 0.8, 1.0)),
        (rolling("CAPACITY_PERCENT", 50), (0.5, 1.0)),
        (rolling("INSTANCE_COUNT", 1), (0.25, 0.5, 0.75, 1.0)),
    ],
)
def test_a_plan_has_the_share_of_every_step(config: dict[str, Any], shares: tuple[float, ...]) -> None:
    assert Plan.of(config, INSTANCES).shares == pytest.approx(shares)


def test_steps_of_ten_percent_are_ten() -> None:
    assert len(Plan.of(blue_green("LINEAR", size=10), INSTANCES).shares) == 10


def test_a_plan_that_waits_longer_than_it_may_take_is_refused() -> None:
    slow = blue_green("CANARY", wait=400, size=10, MaximumExecutionTimeoutInSeconds=600)
    with pytest.raises(AwsError, match=r"MaximumExecutionTimeoutInSeconds \(600\) must be larger .* 800 seconds"):
        Plan.of(slow, INSTANCES).check()
    Plan.of({}, INSTANCES).check()


class FakeTime(threading.Event):
    """A clock, and an event whose wait moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = 0.0

    def __call__(self) -> float:
        return self.moment

    def wait(self, timeout: float | None = None) -> bool:
        self.moment += timeout or 0.0
        return self.is_set()


def test_alarms_are_read_until_the_wait_is_over_and_once_more_then() -> None:
    time, read_at = FakeTime(), []
    Watch(Plan(), lambda: read_at.append(time.moment), time, clock=time).hold(1.2)
    assert read_at == pytest.approx([0.5, 1.0, 1.2])


def test_an_alarm_ends_the_wait() -> None:
    time = FakeTime()
    with pytest.raises(RollBackError, match="it went off"):
        Watch(Plan(), lambda: "it went off" if time.moment > 60 else None, time, clock=time).hold(NEVER)
    assert time.moment < 61


def test_an_update_that_takes_too_long_is_rolled_back() -> None:
    time = FakeTime()
    watch = Watch(Plan(timeout=600), lambda: None, time, clock=time)
    watch.hold(400)
    with pytest.raises(RollBackError, match=r"within MaximumExecutionTimeoutInSeconds \(600\)"):
        watch.hold(400)
    assert time.moment < 601


def test_a_wait_ends_when_nobody_waits_any_more() -> None:
    time = FakeTime()
    time.set()
    with pytest.raises(CancelledError):
        Watch(Plan(), lambda: None, time, clock=time).hold(NEVER)


@pytest.mark.parametrize(("share", "active"), [(0.0, 0), (0.1, 1), (0.25, 1), (0.3, 2), (1.0, 4)])
def test_a_stage_counts_whole_instances(share: float, active: int) -> None:
    described = Stage("Baking", "on {active} of {instances}", share).describe(INSTANCES)
    assert described["StatusMessage"] == f"on {active} of 4"


def asked_once(runtime: Any, endpoint: str) -> str:
    """The model that answers; for an error of it what it says."""
    try:
        body = runtime.invoke_endpoint(EndpointName=endpoint, Body=b"image")["Body"].read()
    except runtime.exceptions.ModelError as error:
        return str(error.response["OriginalMessage"])
    return str(json.loads(body)["model"])


def clients(runtime: Any, endpoint: str) -> contextlib.AbstractContextManager[Clients]:
    """Clients that ask an endpoint all the time, from their first answers on."""
    return asking(lambda: asked_once(runtime, endpoint))


class World:
    """The local AWS with what these tests make there."""

    def __init__(self, scripted: Scripted) -> None:
        self.scripted = scripted
        self.control = scripted.client("sagemaker")
        self.runtime = scripted.client("sagemaker-runtime")
        self.cloudwatch = scripted.client("cloudwatch")
        self.endpoints: list[str] = []

    def config(self, model: str, instances: int = INSTANCES) -> str:
        name = unique("config")
        variant = {"VariantName": "all", "ModelName": model, "InstanceType": "ml.m5.large"}
        self.control.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": instances}]
        )
        return name

    def faulty(self) -> str:
        """A configuration whose model is healthy, answers 500, and takes a second to end."""
        return self.config(self.serving({"faulty.txt": b"", "slow_to_end.txt": b""}))

    def serving(self, files: dict[str, bytes]) -> str:
        return self.scripted.model(ModelDataUrl=self.scripted.put_model({"answer.txt": b"new", **files}))

    def endpoint(self, **options: Any) -> str:
        """An endpoint whose model answers "old"."""
        name = unique("endpoint")
        self.endpoints.append(name)
        config = self.config(self.scripted.model("old"))
        self.control.create_endpoint(EndpointName=name, EndpointConfigName=config, **options)
        assert self.scripted.settled(name)["EndpointStatus"] == "InService"
        return name

    def alarm(self, endpoint: str) -> str:
        """An alarm that one answer 5xx sets off."""
        name = unique("alarm")
        self.cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="AWS/SageMaker",
            MetricName="Invocation5XXErrors",
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "all"}],
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1.0,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
        )
        return name

    def update(self, endpoint: str, config: str, deployment: dict[str, Any], *alarms: str, **options: Any) -> None:
        watched = (
            {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm} for alarm in alarms]}} if alarms else {}
        )
        self.control.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=config,
            DeploymentConfig={**deployment, **watched},
            **options,
        )

    def describe(self, endpoint: str) -> dict[str, Any]:
        return dict(self.control.describe_endpoint(EndpointName=endpoint))

    def until(self, endpoint: str, status: str) -> dict[str, Any]:
        found: dict[str, Any] = wait_for(lambda: self.describe(endpoint), lambda said: said["EndpointStatus"] == status)
        return found

    def errors_of(self, endpoint: str, config: str) -> float:
        """How many answers 5xx CloudWatch has of an endpoint with one configuration."""
        moment = datetime.now(UTC)
        dimensions = {"EndpointName": endpoint, "VariantName": "all", "EndpointConfigName": config}
        points = self.cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName="Invocation5XXErrors",
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            StartTime=moment - timedelta(hours=1),
            EndTime=moment + timedelta(minutes=1),
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))


@pytest.fixture
def world(scripted: Scripted) -> Iterator[World]:
    world = World(scripted)
    yield world
    for endpoint in world.endpoints:
        with contextlib.suppress(ClientError):
            world.control.delete_endpoint(EndpointName=endpoint)


def pending(description: dict[str, Any]) -> dict[str, Any]:
    """The one variant of the deployment under way, empty where there is none."""
    variants = description.get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])
    return dict(variants[0])


def stage(description: dict[str, Any]) -> str:
    """What the deployment under way says of itself."""
    return " ".join(
        f"{status['Status']}: {status['StatusMessage']}" for status in pending(description).get("VariantStatus", [])
    )


def test_a_canary_that_sets_off_an_alarm_is_rolled_back(world: World) -> None:
    endpoint = world.endpoint()
    before = world.describe(endpoint)["EndpointConfigName"]
    faulty, alarm = world.faulty(), world.alarm(endpoint)
    with clients(world.runtime, endpoint) as asked:
        world.update(endpoint, faulty, blue_green("CANARY", wait=NEVER, size=50), alarm)
        assert world.until(endpoint, "RollingBack")["PendingDeploymentSummary"]["EndpointConfigName"] == faulty
        description = world.until(endpoint, "InService")
        rolled_back = time.monotonic()
        asked.wait_for(20, after=rolled_back)
    assert asked.models == {"old", "this model is faulty"}
    assert set(asked.after(rolled_back)) == {"old"}
    assert description["EndpointConfigName"] == before
    assert "PendingDeploymentSummary" not in description
    assert description["FailureReason"] == (
        f"The CloudWatch alarm {alarm} is in the ALARM state. The deployment was rolled back."
    )
    assert description["LastDeploymentConfig"]["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": alarm}]}
    failures = [model for _, model in asked.answered_by].count("this model is faulty")
    wait_for(lambda: world.errors_of(endpoint, faulty), lambda errors: errors == failures)
    assert world.errors_of(endpoint, before) == 0


def test_a_linear_update_moves_the_answers_step_by_step(world: World) -> None:
    deployment = blue_green("LINEAR", wait=1, size=25)
    endpoint = world.endpoint(DeploymentConfig=deployment)
    fresh = world.config(world.serving({}))
    answers: dict[float, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    with clients(world.runtime, endpoint) as asked:
        world.control.update_endpoint(EndpointName=endpoint, EndpointConfigName=fresh, RetainDeploymentConfig=True)
        description = world.describe(endpoint)
        while description["EndpointStatus"] == "Updating":
            share = pending(description).get("CurrentInstanceCount")
            model = asked_once(world.runtime, endpoint)
            description = world.describe(endpoint)
            if share == pending(description).get("CurrentInstanceCount"):
                answers[share / INSTANCES][model] += 1
    assert asked.models == {"old", "new"}
    assert (description["EndpointStatus"], description["EndpointConfigName"]) == ("InService", fresh)
    assert description["LastDeploymentConfig"] == deployment
    assert {0.25, 0.5, 0.75, 1.0} <= set(answers)
    for share, models in answers.items():
        asked, expected = models.total(), share * models.total()
        assert abs(models["new"] - expected) <= 4.5 * math.sqrt(asked * share * (1 - share)) + (0 < share < 1)


def test_a_rolling_update_replaces_the_capacity_of_the_old_fleet(world: World) -> None:
    endpoint = world.endpoint()
    fresh = world.config(world.serving({}))
    counts = set()
    with clients(world.runtime, endpoint) as asked:
        world.update(endpoint, fresh, rolling("INSTANCE_COUNT", 2, wait=1))
        description = world.describe(endpoint)
        while description["EndpointStatus"] == "Updating":
            (old,) = description["ProductionVariants"]
            counts.add((old["CurrentInstanceCount"], pending(description).get("CurrentInstanceCount")))
            description = world.describe(endpoint)
    assert asked.models == {"old", "new"}
    assert {(2, 2), (0, 4)} <= counts <= {(4, 0), (2, 2), (0, 4)}
    (variant,) = description["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], description["EndpointConfigName"]) == (4, fresh)
    assert {asked_once(world.runtime, endpoint) for _ in range(5)} == {"new"}


def test_a_rolling_update_that_sets_off_an_alarm_is_rolled_back(world: World) -> None:
    endpoint = world.endpoint()
    faulty, alarm = world.faulty(), world.alarm(endpoint)
    with clients(world.runtime, endpoint) as asked:
        world.update(endpoint, faulty, rolling("CAPACITY_PERCENT", 50, wait=NEVER), alarm)
        world.until(endpoint, "RollingBack")
        (variant,) = world.until(endpoint, "InService")["ProductionVariants"]
        rolled_back = time.monotonic()
        asked.wait_for(20, after=rolled_back)
    assert variant["CurrentInstanceCount"] == INSTANCES
    assert asked.models == {"old", "this model is faulty"}
    assert set(asked.after(rolled_back)) == {"old"}


def test_an_alarm_that_is_on_already_lets_no_request_reach_the_new_fleet(world: World) -> None:
    endpoint = world.endpoint()
    alarm = world.alarm(endpoint)
    world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a rehearsal")
    with clients(world.runtime, endpoint) as asked:
        world.update(endpoint, world.config(world.serving({})), blue_green("ALL_AT_ONCE"), alarm)
        description = world.until(endpoint, "InService")
    assert asked.models == {"old"}
    assert alarm in description["FailureReason"]


def test_a_new_fleet_that_cannot_load_gets_no_request(world: World) -> None:
    endpoint = world.endpoint()
    broken = world.config(world.scripted.broken_model())
    with clients(world.runtime, endpoint) as asked:
        world.update(endpoint, broken, blue_green("CANARY", size=50), world.alarm(endpoint))
        description = world.until(endpoint, "InService")
    assert asked.models == {"old"}
    assert "did not pass the ping health check" in description["FailureReason"]


def test_two_updates_in_a_row_fail_no_request(world: World) -> None:
    endpoint = world.endpoint()
    alarm = world.alarm(endpoint)
    with clients(world.runtime, endpoint) as asked:
        for name, deployment in (("new", blue_green("CANARY", size=10)), ("newer", blue_green("ALL_AT_ONCE"))):
            config = world.config(world.scripted.model(name))
            world.update(endpoint, config, deployment, alarm)
            assert world.until(endpoint, "InService")["EndpointConfigName"] == config
        updated = time.monotonic()
        asked.wait_for(20, after=updated)
    assert asked.models <= {"old", "new", "newer"}
    assert set(asked.after(updated)) == {"newer"}


def test_the_old_fleet_lives_until_the_termination_wait_is_over(world: World) -> None:
    endpoint = world.endpoint()
    answer = world.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"image")["Body"].read()
    old = json.loads(answer)["pid"]
    with clients(world.runtime, endpoint) as asked:
        config = world.config(world.serving({}))
        world.update(endpoint, config, blue_green("ALL_AT_ONCE", TerminationWaitInSeconds=2))
        wait_for(
            lambda: stage(world.describe(endpoint)),
            lambda said: (
                said
                == "Baking: Baking for 2 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity of 4 "
                "instance(s)."
            ),
        )
        shifted = time.monotonic()
        assert psutil.pid_exists(old)
        wait_for(lambda: psutil.pid_exists(old), lambda lives: not lives)
    assert asked.models == {"old", "new"}
    assert set(asked.after(shifted)) == {"new"}


def serving_folders(world: World, endpoint: str) -> dict[int, str]:
    """The folders of the processes that serve an endpoint, by process."""
    found = {}
    for process in psutil.Process(world.scripted.running.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            folder = process.environ().get("SAGEMAKER_BASE_DIR", "")
            if f"/{endpoint}/" in folder:
                found[process.pid] = folder
    return found


def test_an_endpoint_is_deleted_while_it_waits(world: World) -> None:
    endpoint = world.endpoint()
    world.update(endpoint, world.config(world.serving({})), blue_green("CANARY", wait=NEVER, size=50))
    wait_for(lambda: stage(world.describe(endpoint)), lambda said: "canary capacity of 2 instance(s)" in said)
    folders = serving_folders(world, endpoint)
    assert len(set(folders.values())) == 2
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        world.update(endpoint, world.config(world.serving({})), {})
    world.control.delete_endpoint(EndpointName=endpoint)
    wait_for(lambda: [pid for pid in folders if psutil.pid_exists(pid)], lambda left: not left)


def test_alarms_that_do_not_exist_are_refused(world: World) -> None:
    endpoint = world.endpoint()
    with pytest.raises(ClientError, match="names alarms that do not exist: nobody") as refusal:
        world.update(endpoint, world.config(world.serving({})), {}, world.alarm(endpoint), "nobody")
    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    assert world.describe(endpoint)["EndpointStatus"] == "InService"


def test_a_retained_instance_count_is_what_steps_are_measured_by(world: World) -> None:
    endpoint = world.endpoint()
    config = world.config(world.serving({}), instances=1)
    deployment = rolling("INSTANCE_COUNT", 2)
    with pytest.raises(ClientError, match="percent of the endpoint's 1 instances"):
        world.update(endpoint, config, deployment)
    world.update(endpoint, config, deployment, RetainAllVariantProperties=True)
    (variant,) = world.until(endpoint, "InService")["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == INSTANCES

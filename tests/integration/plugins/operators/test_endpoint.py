from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from botocore.exceptions import ClientError

from image_classification.context import RunningTask
from image_classification.operators.endpoint import EndpointOperator
from include.deployment.endpoint import Deployment, EndpointBusyError, deployment_of
from include.deployment.registry import RegisteredModel
from include.deployment.traffic import Scaling, live_scaling
from include.run_conf import RunConf
from tests.support.local_aws import RunningLocalAws, eventually
from tests.support.served_models import IMAGE, put_model

CONTEXT: Any = {"ti": SimpleNamespace(dag_id="chain", run_id="run", task_id="deployment.deploy")}


@pytest.fixture
def name() -> str:
    return f"pets-{uuid4().hex[:8]}"


@dataclass
class Answers:
    """A smoke test that finds what it is told."""

    differences_found: list[str]
    images: tuple[()] = ()

    def differences(self, *_: Any) -> list[str]:
        return self.differences_found


def make_operator(
    aws: RunningLocalAws,
    name: str,
    file: str = "answer.txt",
    *,
    differences: list[str] | None = None,
    check: Callable[..., None] | None = None,
    **conf: Any,
) -> EndpointOperator:
    model = RegisteredModel(
        arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/pets/1",
        group="pets",
        version=1,
        approval="Approved",
        artifact=put_model(aws, file),
        image=IMAGE,
        job="job",
        dataset="pets",
        dataset_version="v",
        dataset_uri="s3://data/datasets/pets/v/",
        accuracy=0.9,
    )

    def deployment(running: RunningTask, _: Mapping[str, Any]) -> Deployment:
        asked = RunConf.from_conf({"endpoint.name": name, **conf})
        settings = running.settings.model_copy(update={"image_uri": IMAGE})
        return deployment_of(model, conf=asked, settings=settings, run=running.run)

    test: Any = Answers(differences or [])
    return EndpointOperator(
        task_id="deploy", deployment=deployment, smoke_test=lambda *_: test, check=check or (lambda *_: None), inputs={}
    )


async def wait_for(operator: EndpointOperator) -> dict[str, Any]:
    """The event with which the deferred task goes on."""
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(CONTEXT)
    async for event in deferred.value.trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("the trigger did not fire")


async def test_an_endpoint_is_created_and_handed_on_when_it_serves(aws: RunningLocalAws, name: str) -> None:
    operator = make_operator(aws, name)

    result = operator.execute_complete(CONTEXT, await wait_for(operator))

    assert (result["name"], result["status"]) == (name, "InService")
    assert [variant["name"] for variant in result["variants"]] == ["champion"]
    assert operator.console_url.endswith(f"/jobs/endpoint/{name}")


@pytest.mark.parametrize(("keep", "occasions"), [(True, ["promoted"]), (False, [])])
async def test_people_are_told_of_a_promotion_by_the_task_that_notes_it(
    aws: RunningLocalAws, name: str, monkeypatch: pytest.MonkeyPatch, *, keep: bool, occasions: list[str]
) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "image_classification.operators.endpoint.announce",
        lambda _, occasion, sentence, **__: told.append((occasion, sentence)),
    )
    operator = make_operator(aws, name, **{"endpoint.keep": keep})

    for _ in range(2):  # the second time it serves already: nothing is promoted
        operator.execute_complete(CONTEXT, await wait_for(operator))

    assert told == [(occasion, f"pets v1: accuracy 90.0%, serving at {name}") for occasion in occasions]


async def test_a_retried_task_changes_nothing_and_another_model_updates_the_endpoint(
    aws: RunningLocalAws, name: str
) -> None:
    operator = make_operator(aws, name)
    first = operator.execute_complete(CONTEXT, await wait_for(operator))

    again = operator.execute_complete(CONTEXT, await wait_for(operator))
    other = make_operator(aws, name)
    updated = other.execute_complete(CONTEXT, await wait_for(other))

    assert again == first
    assert updated["status"] == "InService"
    assert updated["config"] != first["config"]


async def test_a_model_that_cannot_load_fails_the_task_and_the_old_one_goes_on_serving(
    aws: RunningLocalAws, name: str
) -> None:
    operator = make_operator(aws, name)
    served = operator.execute_complete(CONTEXT, await wait_for(operator))
    broken = make_operator(aws, name, "broken.txt")

    event = await wait_for(broken)

    with pytest.raises(AirflowFailException, match=rf"{served['config']} .*still serves"):
        broken.execute_complete(CONTEXT, event)


async def test_a_model_that_answers_wrongly_gives_way_to_the_one_before(
    aws: RunningLocalAws, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "image_classification.operators.endpoint.announce",
        lambda _, occasion, sentence, **__: told.append((occasion, sentence)),
    )
    operator = make_operator(aws, name)
    served = operator.execute_complete(CONTEXT, await wait_for(operator))
    wrong = make_operator(aws, name, differences=["cat.jpg is dog"])

    with pytest.raises(TaskDeferred) as going_back:
        wrong.execute_complete(CONTEXT, await wait_for(wrong))
    (event,) = [event.payload async for event in going_back.value.trigger.run()]

    with pytest.raises(AirflowFailException, match=rf"cat\.jpg is dog\. It serves {served['config']} .* again\."):
        wrong.execute_gone_back(CONTEXT, event, **(going_back.value.kwargs or {}))
    assert told[1:] == [("rolled back", f"pets v1 does not serve at {name}")]
    assert aws.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointConfigName"] == served["config"]


async def test_an_alarm_undoes_a_canary_and_is_named(aws: RunningLocalAws, name: str) -> None:
    operator = make_operator(aws, name)
    served = operator.execute_complete(CONTEXT, await wait_for(operator))
    canary = {"endpoint.rollout": {"kind": "canary", "size_percent": 50, "wait_seconds": 120}}
    faulty = make_operator(aws, name, "faulty.txt", **canary)
    with pytest.raises(TaskDeferred) as updating:
        faulty.execute(CONTEXT)
    sagemaker, runtime = aws.client("sagemaker"), aws.client("sagemaker-runtime")

    def ask_until_it_is_over() -> bool:
        with contextlib.suppress(ClientError):
            runtime.invoke_endpoint(EndpointName=name, Body=b"image", ContentType="image/jpeg")
        return bool(sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService")

    eventually(ask_until_it_is_over)

    alarm = rf"image-classification-{name}-(server|model)-errors"
    with pytest.raises(AirflowFailException, match=rf"{alarm} is in .*{served['config']} .*still serves.*In alarm: "):
        faulty.execute_complete(CONTEXT, {"name": name, "status": "InService"}, **(updating.value.kwargs or {}))


async def test_an_endpoint_that_is_scaled_is_updated_and_stays_so(aws: RunningLocalAws, name: str) -> None:
    scaled = {"endpoint.autoscaling": {"maximum": 4, "target": 600}}
    for machine in ("ml.m5.large", "ml.m5.large", "ml.c5.xlarge"):
        operator = make_operator(aws, name, **scaled, **{"endpoint.instance_type": machine})
        served = operator.execute_complete(CONTEXT, await wait_for(operator))
        assert served["variants"][0]["instance_type"] == machine
        assert live_scaling(aws.client("application-autoscaling"), name) == Scaling(1, 4, 600)


async def test_a_model_is_checked_right_before_each_change_and_not_while_it_serves(
    aws: RunningLocalAws, name: str
) -> None:
    allowed = True

    def check(*_: Any) -> None:
        if not allowed:
            raise AirflowSkipException("another champion")

    operator = make_operator(aws, name, check=check)
    served = operator.execute_complete(CONTEXT, await wait_for(operator))
    allowed = False

    assert operator.execute_complete(CONTEXT, await wait_for(operator)) == served
    refused = make_operator(aws, name, check=check)
    for execute in (
        lambda: refused.execute(CONTEXT),
        lambda: refused.execute_when_free(CONTEXT, {"status": "Unknown"}),
    ):
        with pytest.raises(AirflowSkipException, match="another champion"):
            execute()
    assert aws.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointConfigName"] == served["config"]


async def test_a_run_whose_endpoint_was_changed_by_another_one_is_skipped(aws: RunningLocalAws, name: str) -> None:
    first, second = make_operator(aws, name), make_operator(aws, name)
    with pytest.raises(TaskDeferred) as creating:
        first.execute(CONTEXT)
    await wait_for(first)

    done = await wait_for(second)

    assert second.execute_complete(CONTEXT, done)["status"] == "InService"
    with pytest.raises(AirflowSkipException, match=f"Another run has changed endpoint {name}"):
        first.execute_complete(CONTEXT, done, **creating.value.kwargs)


async def test_a_change_of_another_run_is_waited_for_first(
    aws: RunningLocalAws, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_by_another = make_operator(aws, name)
    served_by_another.execute_complete(CONTEXT, await wait_for(served_by_another))
    operator = make_operator(aws, name)

    def busy(*_: Any) -> str:
        raise EndpointBusyError("Endpoint is Updating")

    with monkeypatch.context() as patch:
        patch.setattr("include.deployment.endpoint.deploy", busy)
        with pytest.raises(TaskDeferred) as waiting:
            operator.execute(CONTEXT)
    assert waiting.value.method_name == "execute_when_free"
    (free,) = [event.payload async for event in waiting.value.trigger.run()]

    for event in (free, {**free, "status": "Unknown"}):  # it serves again, or it was deleted meanwhile
        with pytest.raises(TaskDeferred) as updating:
            operator.execute_when_free(CONTEXT, event)
        assert updating.value.method_name == "execute_complete"


def of_run(run: str) -> Any:
    return {"ti": SimpleNamespace(dag_id="deploy_endpoint", run_id=run, task_id="deployment.deploy")}


async def deployed(operator: EndpointOperator, context: Any) -> dict[str, Any]:
    """The kwargs with which a task continues once the endpoint serves."""
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    async for event in deferred.value.trigger.run():
        return {"event": event.payload, **(deferred.value.kwargs or {})}
    raise AssertionError("the trigger did not fire")


@pytest.mark.parametrize("passed", [True, False], ids=["after its test", "before its test"])
async def test_a_retry_of_an_older_deployment_leaves_a_rollback_as_it_is(
    aws: RunningLocalAws, name: str, *, passed: bool
) -> None:
    old, new = make_operator(aws, name), make_operator(aws, name)
    served = old.execute_complete(of_run("first"), **await deployed(old, of_run("first")))
    update = await deployed(new, of_run("second"))
    if passed:
        new.execute_complete(of_run("second"), **update)
    back = await deployed(old, of_run("rollback"))

    for again in (lambda: new.execute(of_run("second")), lambda: new.execute_complete(of_run("second"), **update)):
        with pytest.raises(AirflowSkipException, match=r"deploy_endpoint rollback\. It stays so"):
            again()
    old.execute_complete(of_run("rollback"), **back)
    with pytest.raises(AirflowSkipException, match="deploy_endpoint rollback"):
        new.execute(of_run("second"))

    sagemaker = aws.client("sagemaker")
    live = sagemaker.describe_endpoint(EndpointName=name)
    assert live["EndpointConfigName"] == served["config"]
    config = sagemaker.describe_endpoint_config(EndpointConfigName=served["config"])
    tags = sagemaker.list_tags(ResourceArn=config["EndpointConfigArn"])["Tags"]
    assert ("served-until" in {tag["Key"] for tag in tags}) == passed, "a configuration was replaced once, or never"
    with pytest.raises(TaskDeferred):
        new.execute(of_run("third"))  # another decision


async def test_a_rollback_during_a_test_that_fails_leaves_the_proven_model(aws: RunningLocalAws, name: str) -> None:
    old = make_operator(aws, name)
    served = old.execute_complete(of_run("first"), **await deployed(old, of_run("first")))
    await deployed(make_operator(aws, name), of_run("second"))
    doubtful = make_operator(aws, name, differences=["7 instead of 1"])
    doubtful.deployment = old.deployment
    back = await deployed(doubtful, of_run("rollback"))

    with pytest.raises(AirflowFailException, match="It has passed before, so it still serves this model"):
        doubtful.execute_complete(of_run("rollback"), **back)

    live = aws.client("sagemaker").describe_endpoint(EndpointName=name)
    assert (live["EndpointStatus"], live["EndpointConfigName"]) == ("InService", served["config"])

"""Clients of an endpoint notice none of its updates, whatever becomes of the new model."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from image_classification.context import RunningTask
from image_classification.operators.endpoint import EndpointOperator
from include.datasets.version import HeldOutImage
from include.deployment.endpoint import Deployment, deployment_of
from include.deployment.registry import RegisteredModel
from include.deployment.smoke_test import SmokeTest
from include.evaluation.prediction import probabilities
from include.run_conf import RunConf
from tests.support.asking_clients import asking
from tests.support.local_aws import RunningLocalAws
from tests.support.pictures import jpeg
from tests.support.served_models import IMAGE, put_model

CONTEXT: Any = {"ti": SimpleNamespace(dag_id="chain", run_id="run", task_id="deployment.deploy")}
LABELS = ("cat", "dog", "hen")
PICTURE = jpeg()
PREDICTIONS = 1000
CLIENTS = 4
ODDS = {
    "first": [0.7, 0.2, 0.1],
    "canary": [0.6, 0.3, 0.1],
    "at once": [0.5, 0.3, 0.2],
    "wrong": [0.1, 0.2, 0.7],
}
CANARY = {"endpoint.rollout": {"kind": "canary", "size_percent": 50, "wait_seconds": 1}}


@dataclass(frozen=True)
class Line:
    """A dataset's endpoint, and the task that deploys to it."""

    aws: RunningLocalAws
    runtime: Any
    endpoint: str

    def ask(self) -> str:
        """The model that answers a prediction."""
        given = probabilities(self.runtime, endpoint=self.endpoint, image=PICTURE, classes=len(LABELS))
        return next(model for model, odds in ODDS.items() if odds == given)

    async def deploy(self, model: str, *, evaluated: list[float] | None = None, **conf: Any) -> dict[str, Any]:
        """Run the task to its end; `evaluated` is what the model answered in its evaluation, if not its odds."""
        operator = self._operator(model, evaluated or ODDS.get(model, []), conf)
        method, arguments = operator.execute, {}
        while True:
            try:
                return method(CONTEXT, **arguments)
            except TaskDeferred as deferred:
                (event,) = [event.payload async for event in deferred.trigger.run()]
                method = getattr(operator, deferred.method_name)
                arguments = {"event": event, **(deferred.kwargs or {})}

    def _operator(self, model: str, evaluated: list[float], conf: Mapping[str, Any]) -> EndpointOperator:
        file = ("odds.json", json.dumps(ODDS[model]).encode()) if model in ODDS else ("broken.txt", b"")
        version = RegisteredModel(
            arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/pets/1",
            group="pets",
            version=1,
            approval="Approved",
            artifact=put_model(self.aws, *file),
            image=IMAGE,
            job="job",
            dataset="pets",
            dataset_version="v",
            dataset_uri="s3://data/datasets/pets/v/",
            accuracy=0.9,
        )

        def deployment(running: RunningTask, _: Mapping[str, Any]) -> Deployment:
            asked = RunConf.from_conf({"endpoint.name": self.endpoint, **conf})
            settings = running.settings.model_copy(update={"image_uri": IMAGE})
            return deployment_of(version, conf=asked, settings=settings, run=running.run)

        test = SmokeTest((HeldOutImage(1, "cat.jpg", (0.0,), PICTURE),), LABELS, False, {1: evaluated}, accuracy=0.9)
        return EndpointOperator(
            task_id="deploy", deployment=deployment, smoke_test=lambda *_: test, check=lambda *_: None, inputs={}
        )


async def test_a_thousand_predictions_during_updates_fail_nowhere_and_no_refused_model_answers_on(
    aws: RunningLocalAws,
) -> None:
    line = Line(aws, aws.client("sagemaker-runtime"), f"pets-{uuid4().hex[:8]}")
    await line.deploy("first")
    with asking(line.ask, CLIENTS) as clients:
        moments = [time.monotonic()]

        def end_update() -> None:
            """Let clients ask until their share of all predictions is there, and note the moment."""
            clients.wait_for(PREDICTIONS * len(moments) // 4, after=moments[0])
            moments.append(time.monotonic())

        for model, conf in (("canary", CANARY), ("at once", {})):
            served = await line.deploy(model, **conf)
            end_update()
        with pytest.raises(AirflowFailException, match=f"{served['config']} .*still serves"):
            await line.deploy("cannot load")
        end_update()
        with pytest.raises(AirflowFailException, match=rf"in the evaluation\. It serves {served['config']} .* again"):
            await line.deploy("wrong", evaluated=ODDS["at once"])
        gone_back = time.monotonic()
        end_update()
        clients.wait_for(100, after=gone_back)

    assert clients.models == set(ODDS)  # none of which is a failure
    assert len(clients.between(moments[0], moments[-1])) >= PREDICTIONS
    assert [set(clients.between(*update)) for update in itertools.pairwise(moments)] == [
        {"first", "canary"},
        {"canary", "at once"},
        {"at once"},
        {"at once", "wrong"},
    ]
    assert set(clients.after(gone_back)) == {"at once"}
    described = aws.client("sagemaker").describe_endpoint(EndpointName=line.endpoint)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", served["config"])

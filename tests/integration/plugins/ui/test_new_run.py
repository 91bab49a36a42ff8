"""The page "New run": the run conf as a form, its dry run, and the start."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.run_conf import RunConf, form_fields
from tests.integration.plugins.ui.conftest import SignIn
from tests.integration.plugins.ui.test_access import HEADERS
from tests.integration.plugins.ui.test_actions import run_of
from tests.support.documents import SMALL_NETWORK
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.running_task import SETTINGS

SMALL = {name: str(value) for name, value in SMALL_NETWORK.items()}
PRICES = {"ml.g4dn.xlarge": 0.5, "ml.m5.large": 0.1}


@pytest.fixture
def images(aws: RunningLocalAws) -> str:
    """A prefix with an image."""
    aws.client("s3").put_object(Bucket=BUCKET, Key="photos/cat/1.jpg", Body=b"jpeg")
    return f"s3://{BUCKET}/photos/"


def post(sign_in: SignIn, what: str, fields: dict[str, str], role: str = "USER", **more: Any) -> Any:
    return sign_in(role).post(f"/new-run/{what}", json={"fields": fields, **more}, headers=HEADERS)


def test_the_page_holds_every_field_of_the_run_conf_with_a_label_and_what_it_stands_for(sign_in: SignIn) -> None:
    page = sign_in("USER").get("/new-run").text

    for field in form_fields(RunConf):
        assert f'<label for="field-{field.name}">' in page
        assert f'name="{field.name}"' in page
        assert f'aria-describedby="hint-{field.name} error-{field.name}"' in page
    assert page.index("<summary><span>Common<") < page.index("<summary><span>Dataset<")
    assert "algorithm&#39;s default (0.1)" in page
    assert 'placeholder="one per line"' in page


def test_the_address_of_the_page_fills_in_fields(sign_in: SignIn) -> None:
    page = sign_in("USER").get("/new-run?dataset.name=pets%22%3E&preset=digits").text

    assert 'value="pets&#34;&gt;"' in page
    assert '<option value="digits" selected>' in page


def test_a_mistake_is_named_at_its_field_with_what_was_meant(sign_in: SignIn) -> None:
    fields = {"training.hyperparameters.learning_rate": "0,01", "dataset.split.train": "0.9", "tuning.ranges": "{"}

    found = {each["at"]: each for each in post(sign_in, "check", fields).json()["problems"]}

    assert found["training.hyperparameters.learning_rate"]["remedy"].endswith("did you mean 0.01?")
    assert "must be a JSON object" in found["tuning.ranges"]["remedy"]
    assert found["dataset.split.train"]["field"] == "dataset.split", "the three shares together"


def test_a_number_out_of_bounds_is_refused_and_not_moved(sign_in: SignIn) -> None:
    (problem,) = post(sign_in, "check", {"training.hyperparameters.learning_rate": "3"}).json()["problems"]

    assert (problem["value"], problem["remedy"]) == ("3", "must be a number from 0 to 1, or empty")


def test_the_preset_says_what_it_fills_in(sign_in: SignIn) -> None:
    fields = {"preset": "photographs", "training.hyperparameters.epochs": "9"}

    preset = post(sign_in, "check", fields).json()["preset"]

    assert preset["training.hyperparameters.num_layers"] == "50"
    assert "training.hyperparameters.epochs" not in preset


def test_a_dry_run_shows_plan_and_cost(sign_in: SignIn, images: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "prices": PRICES}))
    fields = {**SMALL, "dataset.name": "photos", "dataset.source": images, "resources.max_runtime_seconds": "7200"}

    found = post(sign_in, "check", fields, ask_aws=True).json()

    assert found["problems"] == []
    assert f"The images of {images} become a new version of photos." in found["plan"]
    assert "ResNet-20 for images of 3,28,28, from scratch, 5 epochs." in found["plan"]
    assert "0.10 USD an hour" in found["plan"]
    assert '<td class="number">1.00</td>' in found["plan"], "two hours of training at 0.50"


def test_a_dry_run_finds_weights_that_the_algorithm_lacks(sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "imagenet_weights": False}))
    found = post(sign_in, "check", {"preset": "photographs"}, ask_aws=True).json()

    (problem,) = [each for each in found["problems"] if each["at"].endswith("use_pretrained_model")]
    assert (problem["field"], problem["value"]) == ("training.hyperparameters.use_pretrained_model", "1")
    assert problem["remedy"].endswith("has no ImageNet weights (settings.imagenet_weights): set it to 0")


def test_a_dry_run_finds_all_problems_at_once(sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**SETTINGS, "output_bucket": "a-bucket-nobody-made", "poll_seconds": "often"}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(settings))
    fields = {
        "training.hyperparameters.epochs": "many",
        "training.mode": "tunes",
        "endpoint.instance_type": "ml.m5.lrage",
    }

    found = post(sign_in, "check", fields, ask_aws=True).json()

    assert {each["field"]: each["at"] for each in found["problems"]} == {
        "training.hyperparameters.epochs": "training.hyperparameters.epochs",
        "training.mode": "training.mode",
        "poll_seconds": "",
        "endpoint.instance_type": "endpoint.instance_type",
        "settings.output_bucket": "",
    }
    assert "Not known until its fields are right." in found["plan"]


def test_what_a_person_entered_is_text_in_the_plan(sign_in: SignIn) -> None:
    found = post(sign_in, "check", {"dataset.labels": "<img src=x onerror=alert(1)>\ncat"}, ask_aws=True).json()

    assert "<img" not in found["plan"]
    assert "&lt;img src=x" in found["plan"]


def test_a_run_starts_with_what_was_filled_in_and_nothing_else(sign_in: SignIn, images: str) -> None:
    fields = {**SMALL, "dataset.name": "photos", "dataset.source": f"{images}\n", "dataset.labels": "", "preset": " "}

    answer = post(sign_in, "runs", fields).json()

    run = run_of("image_classification", answer["run_id"])
    assert run.conf == {**SMALL, "dataset.name": "photos", "dataset.source": f"{images}\n"}
    assert run.triggering_user_name == "user"
    assert answer["path"].startswith("/dags/image_classification/runs/")
    assert "switched off" in answer["note"]


def test_a_run_with_a_mistake_is_not_started(sign_in: SignIn) -> None:
    answer = post(sign_in, "runs", {"training.hyperparameters.epochs": "0"})

    assert answer.status_code == 422
    assert answer.json()["detail"] == "Nothing was started: 1 problem."
    assert answer.json()["problems"][0]["at"] == "training.hyperparameters.epochs"


@pytest.mark.parametrize("what", ["check", "runs"])
def test_who_may_not_start_runs_checks_and_starts_none(what: str, sign_in: SignIn) -> None:
    assert post(sign_in, what, {}, role="").status_code == 401
    assert post(sign_in, what, {}, role="VIEWER").status_code == 403
    elsewhere = sign_in("ADMIN").post(f"/new-run/{what}", json={"fields": {}})
    assert elsewhere.status_code == 403, "from no page of this Airflow"
    assert "You may not start runs of image_classification" in sign_in("VIEWER").get("/new-run").text

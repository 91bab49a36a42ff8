"""The page of an endpoint: what it answers about images, other versions beside it, its requests, what it captures."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.deployment.registry import RegisteredModel
from include.evaluation.batch_prediction import PREDICTIONS
from include.settings import Settings
from tests.integration.plugins.ui.conftest import SignIn
from tests.integration.plugins.ui.test_access import HEADERS
from tests.integration.plugins.ui.test_actions import run_of
from tests.integration.plugins.ui.test_pages import is_not_found, shown
from tests.support.local_aws import BUCKET, RunningLocalAws, eventually
from tests.support.pictures import jpeg
from tests.support.running_task import SETTINGS
from tests.support.served_models import IMAGE, deployed, put_model, registered
from tests.support.web_server import serve


@pytest.fixture
def settings() -> Settings:
    return Settings.from_variable({**SETTINGS, "image_uri": IMAGE})


def seeing_a_dog(aws: RunningLocalAws, settings: Settings, dataset: str, **conf: Any) -> RegisteredModel:
    """A version that serves and is rather sure of a dog."""
    model = registered(aws, settings, dataset)
    odds = put_model(aws, "odds.json", b"[0.2, 0.7, 0.1]").removeprefix(f"s3://{BUCKET}/")
    artifact = model.artifact.removeprefix(f"s3://{BUCKET}/")
    aws.client("s3").copy_object(Bucket=BUCKET, Key=artifact, CopySource={"Bucket": BUCKET, "Key": odds})
    deployed(aws, settings, model, **conf)
    return model


def shown_anew(client: Any, path: str, kind: str, wanted: str) -> str:
    """The page once it shows what is wanted: looks of this kind are taken again, however fresh they are."""

    def look() -> str | None:
        client.app.state.installation.quick.forget(lambda key: key[0] == kind)
        text = str(client.get(path).text)
        return text if wanted in text else None

    found: str = eventually(look)
    return found


def test_an_image_is_answered_by_the_endpoint_and_what_is_none_is_named(
    sign_in: SignIn, aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    client, path = sign_in("USER"), f"/datasets/{pets}/endpoint"
    refused = client.post(f"{path}/images", content=b"x", headers=HEADERS)
    assert (refused.status_code, refused.json()["detail"]) == (409, f"No endpoint serves {pets} now.")
    seeing_a_dog(aws, settings, pets)
    page = shown(
        client, path, "InService", "version 1", "Drop images here", "Nothing is captured", "Requests, every hour"
    )
    assert "You may not" in sign_in("VIEWER").get(path).text

    answer = client.post(f"{path}/images", content=jpeg(40, 30), headers={**HEADERS, "X-Name": "a%20cat.jpg"}).json()
    no_image = client.post(f"{path}/images", content=b"GIF or not", headers=HEADERS).json()
    too_large = client.post(f"{path}/images", content=bytes(20_000_001), headers=HEADERS)

    assert "version 1" in page
    assert (answer["name"], answer["version"], answer["problem"]) == ("a cat.jpg", 1, "")
    assert answer["classes"] == [["dog", 0.7], ["cat", 0.2], ["owl", 0.1]]
    assert "cannot be packed" in no_image["problem"]
    assert too_large.status_code == 413
    hour = shown_anew(client, f"{path}?span=hour", "traffic", "1 request, no error")
    assert "Requests, every 5 minutes" in hour
    assert "Milliseconds in the model, every 5 minutes" in hour


def test_an_address_is_read_only_where_a_dataset_would_be(
    sign_in: SignIn, aws: RunningLocalAws, settings: Settings, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, path = sign_in("USER"), f"/datasets/{pets}/endpoint/addresses"
    seeing_a_dog(aws, settings, pets)
    shown(client, f"/datasets/{pets}/endpoint", "InService")

    with serve(jpeg(40, 30)) as server:
        body = {"address": f"{server.url}/cat.jpg?token=secret"}
        refused = client.post(path, json=body, headers=HEADERS)
        assert server.requests == []
        allowed = {**SETTINGS, "source_networks": ["127.0.0.0/8"]}
        monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(allowed))
        answer = client.post(path, json=body, headers=HEADERS).json()

    assert refused.status_code == 422
    assert "the machine itself" in refused.json()["detail"]
    assert "secret" not in json.dumps([refused.json(), answer])
    assert answer["classes"][0] == ["dog", 0.7]
    assert answer["name"].endswith("/cat.jpg?...")
    assert answer["image"].startswith("data:image/jpeg;base64,")


def test_another_version_is_asked_about_the_same_images_by_a_run_that_ends(
    sign_in: SignIn, aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    client, path = sign_in("USER"), f"/datasets/{pets}/endpoint"
    seeing_a_dog(aws, settings, pets)
    registered(aws, settings, pets)
    shown(client, path, "InService", "Ask another version")
    image, question = jpeg(40, 30), "new"
    for place, name in enumerate(("cat.jpg", "owl.jpg")):
        asked = f"{path}/images?question={question}&place={place}"
        question = client.post(asked, content=image, headers={**HEADERS, "X-Name": name}).json()["question"]

    started = client.post(f"/datasets/{pets}/questions/{question}/versions", json={"version": "2"}, headers=HEADERS)

    answer, folder = started.json(), f"predictions/question-{pets}-{question}"
    run = run_of("predict_images", answer["run_id"])
    assert (run.triggering_user_name, run.conf) == (
        "user",
        {
            "dataset.name": pets,
            "model_version": 2,
            "source": f"s3://{BUCKET}/{folder}/images/",
            "output": f"s3://{BUCKET}/{folder}/version-2/",
        },
    )
    page = shown(client, answer["page"], "being asked", "70.00 %", "queued")
    assert page.count("being asked") == 2
    picture = client.get(f"{answer['page']}/images/000-cat.jpg")
    assert (picture.content, picture.headers["Content-Type"]) == (image, "image/jpeg")
    assert "sandbox" in picture.headers["Content-Security-Policy"]

    names = {"top_labels": ["owl"], "top_probabilities": [0.8]}
    rows = [{"key": f"{folder}/images/{name}", **names} for name in ("000-cat.jpg", "001-owl.jpg")]
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict.fromkeys(PREDICTIONS.names) | row for row in rows]), table)
    aws.client("s3").put_object(Bucket=BUCKET, Key=f"{folder}/version-2/predictions.parquet", Body=table.getvalue())
    page = shown(client, answer["page"], "80.00 %", "different classes in 2 of 2 images")
    assert "being asked" not in page


def test_nothing_is_asked_about_images_that_nobody_gave(sign_in: SignIn, pets: str) -> None:
    client = sign_in("USER")

    assert client.get(f"/datasets/{pets}/questions/of-nobody").status_code == 404
    assert is_not_found(client, f"/datasets/{pets}/questions/{'0' * 16}")
    assert client.get(f"/datasets/{pets}/questions/{'0' * 16}/images/000-cat.jpg").status_code == 404
    path = f"/datasets/{pets}/endpoint/images?question=../../x&place=0"
    assert client.post(path, content=b"image", headers=HEADERS).status_code == 422


def test_captured_requests_are_shown_with_their_image_and_answer(
    sign_in: SignIn, aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    client, path = sign_in("USER"), f"/datasets/{pets}/endpoint"
    seeing_a_dog(aws, settings, pets, **{"endpoint.capture_percent": 100})
    shown(client, path, "100 % of the requests are kept")
    client.post(f"{path}/images", content=jpeg(40, 30), headers=HEADERS)

    page = shown_anew(client, path, "captured", "Image of a captured request")

    assert "<strong>dog</strong> 70.00 %" in page
    event = page.partition(f"{path}/captured/")[2].partition('"')[0]
    image = client.get(f"{path}/captured/{event}")
    assert image.headers["Content-Type"] == "image/jpeg"
    assert image.content.startswith(b"\xff\xd8\xff")
    assert client.get(f"{path}/captured/of-nobody").status_code == 404

"""What the first tasks hand on of a run conf holds no signature, and Airflow's masker knows of it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from image_classification import web_sources
from image_classification.context import AwsAccess
from image_classification.tasks import check_conf, choose_model
from include.datasets import version
from include.deployment import registry
from include.settings import Settings
from tests.support.documents import dataset_version
from tests.unit.plugins.conftest import SETTINGS

SECRET = "0123456789abcdef"
ADDRESS = f"https://acme.com/a.zip?X-Amz-Credential=AKIAEXAMPLE&X-Amz-Signature={SECRET}"


class Store:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:
        self.kept[f"s3://{Bucket}/{Key}"] = Body


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    access = SimpleNamespace(client=lambda _: store)
    monkeypatch.setattr(AwsAccess, "of", lambda _: access)
    return store


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    heard: list[Any] = []
    monkeypatch.setattr(web_sources, "mask_secret", heard.append)
    return heard


def asked(monkeypatch: pytest.MonkeyPatch, module: Any, conf: dict[str, Any]) -> None:
    monkeypatch.setattr(module, "get_current_context", lambda: {"dag_run": SimpleNamespace(conf=conf)})


def test_the_conf_that_tasks_hand_on_has_a_reference_for_a_query(
    store: Store, hidden: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, check_conf, {"dataset.name": "pets", "dataset.source": [ADDRESS]})
    monkeypatch.setattr(check_conf.Variable, "get", lambda *_, **__: json.dumps(SETTINGS))

    document = check_conf.check_conf.function(stages=())

    assert SECRET not in json.dumps(document)
    (source,) = document["dataset"]["source"]
    assert source.startswith("https://acme.com/a.zip?kept-query=")
    assert SECRET in hidden
    reference = source.rpartition("=")[2]
    assert store.kept == {f"s3://{SETTINGS['data_bucket']}/unpacked/pets/{reference}/address.txt": ADDRESS.encode()}


def test_the_conf_beside_a_chosen_model_has_none_either(
    store: Store, hidden: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, choose_model, {"dataset.name": "pets", "dataset.source": [ADDRESS]})
    monkeypatch.setattr(choose_model, "load_settings", lambda: Settings.from_variable(SETTINGS))
    model = SimpleNamespace(
        approved=True, group="g", version=1, accuracy=1.0, dataset_uri="", model_dump=lambda **_: {}
    )
    monkeypatch.setattr(registry, "last_approved", lambda *_, **__: model)
    monkeypatch.setattr(version, "load", lambda *_: dataset_version())

    document = choose_model.choose_model.function()

    assert SECRET not in json.dumps(document)
    assert SECRET in hidden

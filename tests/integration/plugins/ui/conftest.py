"""The pages with Airflow's own sign-in, in front of a local AWS."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.support.airflow_home import ROOT, migrated_database
from tests.support.local_aws import RunningLocalAws
from tests.support.made_runs import made_runs, serialized_dags

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

__all__ = ["made_runs", "serialized_dags"]

SignIn = Callable[[str], "TestClient"]
ADDRESS = "https://airflow.acme.org/team"
DAGS = ("review_model", "deploy_endpoint", "train_model")
"""Those that buttons start."""


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Airflow's database, which knows the DAGs that buttons start."""
    migrated_database(tmp_path_factory)
    from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: PLC0415  (the home comes first)
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db  # noqa: PLC0415

    DagBundlesManager().sync_bundles_to_db()
    for dag in (*DAGS, "predict_images", "image_classification"):
        sync_bag_to_db(DagBag(ROOT / f"dags/{dag}.py", bundle_path=ROOT / "dags"), "dags-folder", None)


@pytest.fixture(autouse=True)
def base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own address, for these tests alone."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", ADDRESS)


@pytest.fixture(scope="session")
def pages(airflow_database: None) -> Any:
    """The application, as it is mounted below Airflow's."""
    from airflow.api_fastapi.app import init_auth_manager  # noqa: PLC0415
    from airflow.api_fastapi.common.dagbag import create_dag_bag  # noqa: PLC0415

    from image_classification.ui.app import build_pages  # noqa: PLC0415

    state = SimpleNamespace(auth_manager=init_auth_manager(), dag_bag=create_dag_bag(), secret_key="for the tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API__BASE_URL", ADDRESS)
        return build_pages(SimpleNamespace(state=state))  # type: ignore[arg-type]


@pytest.fixture
def sign_in(pages: Any, aws: RunningLocalAws) -> SignIn:
    """A browser of a person with a role of Airflow's simple auth manager; of nobody if the role is empty."""
    from airflow.api_fastapi.app import get_auth_manager  # noqa: PLC0415
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: PLC0415
    from fastapi.testclient import TestClient  # noqa: PLC0415

    def client(role: str) -> TestClient:
        cookies = {}
        if role:
            user = SimpleAuthManagerUser(username=role.lower(), role=role)
            cookies["_token"] = get_auth_manager().generate_jwt(user)
        return TestClient(pages, cookies=cookies, raise_server_exceptions=False)

    return client


@pytest.fixture
def pets() -> str:
    """The name of a dataset of this test alone."""
    return f"pets-{uuid4().hex[:8]}"

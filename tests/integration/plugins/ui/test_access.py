"""Who sees the pages and may use their buttons."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.plugins.ui.conftest import DAGS, SignIn

HEADERS = {"X-Image-Classification": "1", "Sec-Fetch-Site": "same-origin"}
RUN = "reports/manual-2026-11-29-2115877200"
ROUTES = [
    "/",
    "/datasets/pets/models",
    "/datasets/pets/models/1",
    "/datasets/pets/endpoint",
    "/datasets/pets/endpoint/captured/0a1b2c3d",
    "/datasets/pets/questions/0123456789abcdef",
    "/datasets/pets/questions/0123456789abcdef/images/000-cat.jpg",
    "/jobs/training_job/digits-1",
    "/new-run",
    "/datasets/pets/models/compare?version=1&version=2",
    "/datasets/pets/versions",
    "/datasets/pets/versions/20260102T030405Z-0a1b2c3d",
    "/datasets/pets/versions/compare?version=20260102T030405Z-0a1b2c3d&version=20260103T030405Z-0a1b2c3d",
    "/datasets/pets/jobs",
    "/runs",
    "/runs/train_model/manual__2026-01-02T03:04:05+00:00",
    "/datasets/pets/20260102T030405Z-0a1b2c3d/report.html",
    f"/{RUN}/report.html",
    f"/stored/{RUN}/report.html",
]


def routes_of(pages: Any) -> list[Any]:
    """The routes of the application, those of its routers among them."""
    return [
        inner for route in pages.routes for inner in getattr(getattr(route, "original_router", None), "routes", [route])
    ]


def asked(**changes: Any) -> dict[str, Any]:
    return {"action": "approve", "dataset": "pets", "version": 3, "reason": "Better on new photographs.", **changes}


def test_every_page_is_among_those_that_are_asked_for_here(pages: Any) -> None:
    paths = [route.partition("?")[0] for route in ROUTES]
    shown = [route for route in routes_of(pages) if "GET" in route.methods and route.path != "/static/{name}"]

    assert len(shown) == len(ROUTES)
    assert [route.path for route in shown if not any(route.path_regex.fullmatch(path) for path in paths)] == []


@pytest.mark.parametrize("route", ROUTES)
def test_without_a_login_there_is_no_page(route: str, sign_in: SignIn) -> None:
    answer = sign_in("").get(route)

    assert answer.status_code == 401
    assert "/auth/login?next=" in answer.text


@pytest.mark.parametrize("dag", DAGS)
def test_without_a_login_nothing_is_started(dag: str, sign_in: SignIn) -> None:
    assert sign_in("").post(f"/dags/{dag}/runs", json=asked(), headers=HEADERS).status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("endpoint/images", {"content": b"image"}),
        ("endpoint/addresses", {"json": {"address": "https://example.com/cat.jpg"}}),
        ("questions/0123456789abcdef/versions", {"json": {"version": 1}}),
    ],
)
def test_nobody_asks_a_model_who_may_not_start_predictions(path: str, body: Any, sign_in: SignIn) -> None:
    path = f"/datasets/pets/{path}"

    assert sign_in("").post(path, **body, headers=HEADERS).status_code == 401
    assert sign_in("VIEWER").post(path, **body, headers=HEADERS).status_code == 403
    assert sign_in("USER").post(path, **body).status_code == 403, "from no page of this Airflow"


def test_a_login_that_is_not_airflows_is_refused(sign_in: SignIn) -> None:
    client = sign_in("")
    client.cookies.set("_token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsInJvbGUiOiJBRE1JTiJ9.")

    assert client.get("/").status_code == 403


@pytest.mark.parametrize("dag", DAGS)
def test_a_viewer_sees_the_pages_and_starts_nothing(dag: str, sign_in: SignIn) -> None:
    viewer = sign_in("VIEWER")
    action = {"review_model": "approve", "deploy_endpoint": "deploy", "train_model": "retrain"}[dag]

    assert viewer.get("/").status_code == 200
    answer = viewer.post(f"/dags/{dag}/runs", json=asked(action=action), headers=HEADERS)
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"X-Image-Classification": "1"},
        {**HEADERS, "Sec-Fetch-Site": "cross-site"},
        {**HEADERS, "Sec-Fetch-Site": "same-site"},
        {"X-Image-Classification": "1", "Origin": "https://evil.example"},
        {"X-Image-Classification": "1", "Origin": "null"},
    ],
)
def test_what_another_site_asks_for_with_a_persons_cookie_is_refused(headers: dict[str, str], sign_in: SignIn) -> None:
    answer = sign_in("ADMIN").post("/dags/review_model/runs", json=asked(), headers=headers)

    assert answer.status_code == 403
    assert "did not come from a page of this Airflow" in answer.json()["detail"]


def test_a_browser_that_sends_no_more_than_its_origin_is_let_in_from_airflow_itself(sign_in: SignIn) -> None:
    headers = {"X-Image-Classification": "1", "Origin": "https://airflow.acme.org"}

    assert sign_in("ADMIN").post("/dags/review_model/runs", json=asked(), headers=headers).status_code == 200


def test_no_page_runs_a_script_that_is_not_its_own(sign_in: SignIn) -> None:
    policy = sign_in("VIEWER").get("/").headers["Content-Security-Policy"]

    assert "script-src 'self'" in policy
    assert "unsafe" not in policy

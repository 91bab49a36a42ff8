"""Who may see a page and use a button: Airflow's own permissions for the DAGs behind them, on every route."""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request
from starlette.status import HTTP_403_FORBIDDEN

CHAIN = "image_classification"
"""The DAG whose runs everything on these pages comes from: who may read them may read the pages."""
HEADER = "X-Image-Classification"
"""A header that the pages' own script sends with every change: no form and no link of another site can."""

MAY_READ = Depends(requires_access_dag("GET", DagAccessEntity.RUN, CHAIN))


def may_start(user: BaseUser, dag_id: str) -> bool:
    """Whether a user may start runs of a DAG."""
    return is_allowed(user, "POST", dag_id, DagAccessEntity.RUN)


def is_allowed(user: BaseUser, method: str, dag_id: str, entity: DagAccessEntity | None = None) -> bool:
    """Whether a user may do something with a DAG, or with something of it."""
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return bool(
        get_auth_manager().is_authorized_dag(
            method=method,  # type: ignore[arg-type]
            access_entity=entity,
            details=details,
            user=user,
        )
    )


def readable_dags(user: BaseUser) -> set[str]:
    """The DAGs whose runs a user may see."""
    return set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def from_these_pages(request: Request) -> None:
    """Refuse a change that another site, or no page at all, asks for with a person's cookie."""
    asked_by = request.headers.get("sec-fetch-site")
    if asked_by is None:  # a browser of before 2023 sends the origin alone
        origin = urlsplit(request.headers.get("origin", "")).netloc
        asked_by = "same-origin" if origin and origin in _own_hosts(request) else "unknown"
    if asked_by != "same-origin" or request.headers.get(HEADER) is None:
        raise HTTPException(HTTP_403_FORBIDDEN, "This request did not come from a page of this Airflow.")


def _own_hosts(request: Request) -> set[str]:
    return {request.headers.get("host", ""), urlsplit(str(conf.get("api", "base_url", fallback=""))).netloc} - {""}


FROM_THESE_PAGES = Depends(from_these_pages)

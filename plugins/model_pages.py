"""An Airflow plugin: pages about datasets, models, endpoints and reports, in Airflow's navigation.

Every component of Airflow imports this file at its start, and only the API server shows pages: so nothing is imported
here but the plugin's class. The pages are built at the first request for one.
"""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PATH = "image-classification"
"""Where the pages lie below the API server, and their name among Airflow's own pages."""


class PagesAtFirstRequest:
    """An ASGI application that imports and builds the pages when somebody asks for one."""

    def __init__(self) -> None:
        self._pages: Any = None
        self._lock = Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        pages = self._pages
        if pages is None:  # importing takes seconds, in which Airflow's other pages are to answer
            pages = await asyncio.to_thread(self._built, scope["app"])
        await pages(scope, receive, send)

    def _built(self, airflow: Any) -> Any:
        with self._lock:
            if self._pages is None:
                from image_classification.ui.app import build_pages

                self._pages = build_pages(airflow)
            return self._pages


class ModelPages(AirflowPlugin):
    """What Airflow loads."""

    name = "image_classification_pages"
    fastapi_apps = [  # noqa: RUF012  (Airflow declares it so)
        {"app": PagesAtFirstRequest(), "url_prefix": f"/{PATH}", "name": "Image classification"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Models",
            "href": f"{PATH}/",
            "destination": "nav",
            "url_route": PATH,
            "nav_top_level": True,
            "icon": f"{PATH}/static/models.svg",
            "icon_dark_mode": f"{PATH}/static/models-dark.svg",
        }
    ]

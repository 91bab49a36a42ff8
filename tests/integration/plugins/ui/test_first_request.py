"""The plugin that builds the pages when somebody asks for one."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import Any

import pytest

from plugins.model_pages import PagesAtFirstRequest

PATIENCE = 10


def test_airflow_answers_others_while_the_pages_are_built_once(
    airflow_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from image_classification.ui import app  # noqa: PLC0415  (the home comes first)

    others_were_answered, built, asked = Event(), [], []

    async def pages(scope: Any, *_: Any) -> None:
        asked.append(scope["path"])

    def build(airflow: Any) -> Any:
        built.append(others_were_answered.wait(PATIENCE))
        return pages

    monkeypatch.setattr(app, "build_pages", build)

    async def requests() -> None:
        first = PagesAtFirstRequest()
        both = [asyncio.create_task(first({"app": None, "path": path}, None, None)) for path in ("/", "/datasets")]
        await asyncio.sleep(0)
        others_were_answered.set()
        await asyncio.gather(*both)

    asyncio.run(requests())

    assert built == [True]
    assert sorted(asked) == ["/", "/datasets"]

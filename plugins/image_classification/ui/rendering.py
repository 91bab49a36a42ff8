"""How a page is rendered: every text is escaped, scripts and styles come from this package alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.configuration import conf
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from include.pages import plain
from include.sagemaker.job_watch import format_duration

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
STATIC = {
    "pages.css": "text/css; charset=utf-8",
    "pages.js": "text/javascript; charset=utf-8",
    "theme.js": "text/javascript; charset=utf-8",
    "new_run.js": "text/javascript; charset=utf-8",
    "models.svg": "image/svg+xml",
    "models-dark.svg": "image/svg+xml",
}
"""The files that pages take from this package, and what they are."""
MINUTE, HOUR, DAY = 60, 3600, 86_400
CODE = re.compile(r"`([^`]+)`")
UNKNOWN = "\N{EN DASH}"


@cache
def environment() -> Environment:
    """The templates; a name that a page was not given is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        percent=percent,
        moment=moment,
        ago=ago,
        usd=usd,
        segment=segment,
        visible=visible,
        pretty=pretty,
        duration=format_duration,
        marked=marked,
    )
    return made


def page(request: Request, template: str, status: int = 200, **content: Any) -> HTMLResponse:
    """A whole page."""
    root = request.scope.get("root_path", "")
    airflow = str(conf.get("api", "base_url", fallback="")).rstrip("/")
    text = environment().get_template(template).render(root=root, airflow=airflow, now=datetime.now(UTC), **content)
    return HTMLResponse(text, status, headers=HEADERS)


def percent(share: float | None, digits: int = 2) -> str:
    """A share as `98.13 %`; a dash if it is not known."""
    return UNKNOWN if share is None else f"{share * 100:.{digits}f} %"


def usd(amount: float | None, digits: int = 2) -> str:
    """An amount as `1.25 USD`, small ones with more digits; a dash if it is not known."""
    if amount is None:
        return UNKNOWN
    return f"{amount:.4f} USD" if 0 < amount < 0.1 else f"{amount:,.{digits}f} USD"


def moment(at: datetime | None) -> Markup:
    """A time, which the page's script shows in the reader's own zone."""
    if at is None:
        return escape(UNKNOWN)
    stamp = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(stamp.isoformat(), f"{stamp:%Y-%m-%d %H:%M}")


def ago(at: datetime | None) -> str:
    """How long something has been so, in one unit: `3 hours`."""
    if at is None:
        return UNKNOWN
    seconds = max(0.0, (datetime.now(UTC) - at).total_seconds())
    for length, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return format_duration(seconds)


def segment(text: str) -> str:
    """A text as a part of an address."""
    return quote(text, safe="")


def pretty(document: Any) -> str:
    """A document as indented JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def visible(text: str) -> Markup:
    """A text in which control characters, and those that turn the text around them, are seen."""
    return escape(plain(text))


def marked(text: str) -> Markup:
    """A text of this project in which names stand in backticks, as they do in its docstrings."""
    return Markup(CODE.sub(r"<code>\1</code>", str(visible(text))))  # noqa: S704  (escaped before)


def query(**values: Any) -> str:
    """The query of an address, without what is not set."""
    pairs: Mapping[str, Any] = {name: value for name, value in values.items() if value not in (None, "")}
    return "&".join(f"{quote(name)}={quote(str(value), safe='')}" for name, value in pairs.items())

"""What keeps people with a keyboard, a screen reader, weak sight or a phone from a page: axe, and the page's width."""

from __future__ import annotations

from typing import Literal

from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.conftest import PAGE_MILLISECONDS

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
PHONE: ViewportSize = {"width": 390, "height": 844}
BAD = ("serious", "critical")


def flaws_of_page(page: Page, address: str) -> list[str]:
    """The flaws of one of our pages, which is opened alone, in both themes."""
    found = []
    page.goto(address)
    expect(page.locator("[data-awaited]")).to_have_count(0, timeout=PAGE_MILLISECONDS)
    for theme in THEMES:
        page.evaluate("isDark => document.documentElement.classList.toggle('dark', isDark)", theme == "dark")
        found += [f"{address} ({theme}): {flaw}" for flaw in flaws(page, theme)]
    return found


def flaws(page: Page, theme: Theme) -> list[str]:
    """What axe finds on a page, and whether it has to be scrolled sideways on a phone. Only colours differ by theme."""
    page.set_viewport_size(PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_FILE_PATH.read_text())
    rules = ["color-contrast"] if theme == "dark" else None
    options = {"iframes": False, "resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    answer = page.evaluate("options => axe.run(document, options)", options)
    return [f"{width} px wide"] * (width > PHONE["width"]) + [
        f"{violation['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for violation in answer["violations"]
        if violation["impact"] in BAD
        for node in violation["nodes"][:3]
    ]

"""Takes the pictures of docs/tutorial/ui.md from what `make demo` and `make demo-retrain` have left: needs Chromium.

    .venv/bin/python -m tools.ui_pictures [NAME ...]

Each picture is taken light and dark, in Airflow's own frame, as a person sees it. With names only those are taken.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, FrameLocator, Page, expect, sync_playwright

from demo.sample_images import digit_images
from demo.services import STATE, Services

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
PAGES = "/plugin/image-classification/image-classification"
DATASET = "/datasets/digits"
PATIENCE = 120_000.0
SIZE = (1400, 1000)
ASKED = ("3/", "7/", "8/")
"""Classes of which an image is shown to the endpoint."""


def overview(pages: FrameLocator) -> None:
    """What there is, with what serves."""
    expect(pages.get_by_text("Serves since").first).to_be_visible()
    expect(pages.get_by_text("being counted")).to_have_count(0)


def of_version(pages: FrameLocator) -> None:
    """The page of the version that serves, all of it read."""
    pages.get_by_role("link", name="Models", exact=True).last.click()
    pages.get_by_role("row").filter(has_text="serving").get_by_role("link", name="Version").click()
    expect(pages.get_by_role("heading", name="How it was trained")).to_be_visible()


def approving(pages: FrameLocator) -> None:
    """The question before a version that was refused is still approved."""
    pages.get_by_role("row").filter(has_text="waits for approval").first.get_by_role("link", name="Version").click()
    pages.get_by_role("button", name="Approve").click()
    pages.get_by_role("dialog").get_by_label("Reason").fill("The new camera's images matter more.")


def comparing(pages: FrameLocator) -> None:
    """The two newest versions beside each other."""
    for box in pages.get_by_role("checkbox").all()[:2]:
        box.check()
    pages.get_by_role("button", name="Compare 2 versions").click()
    expect(pages.get_by_role("heading", name="As pairs, on the same images")).to_be_visible()
    expect(pages.get_by_role("region", name="Pairs")).to_be_visible()


def asking(pages: FrameLocator) -> None:
    """The endpoint's answers about some images."""
    shown = [next(image for image in digit_images() if image.key.startswith(each)) for each in ASKED]
    files = [{"name": image.key.replace("/", "-"), "mimeType": "image/jpeg", "buffer": image.jpeg} for image in shown]
    pages.get_by_label("Drop images here").set_input_files(files)  # type: ignore[arg-type]
    expect(pages.locator("figure.answer").get_by_role("meter")).not_to_have_count(0)
    expect(pages.get_by_text("being asked")).to_have_count(0)


def reading(pages: FrameLocator) -> None:
    """The report of the version that serves."""
    of_version(pages)
    pages.get_by_role("link", name="Report of its evaluation").click()
    expect(pages.frame_locator('iframe[title="Evaluation"]').get_by_role("heading", level=1)).to_be_visible()


PICTURES: dict[str, tuple[str, Callable[[FrameLocator], object]]] = {
    "overview": ("/", overview),
    "version": (f"{DATASET}/models", of_version),
    "approve": (f"{DATASET}/models", approving),
    "compare": (f"{DATASET}/models", comparing),
    "endpoint": (f"{DATASET}/endpoint", asking),
    "report": (f"{DATASET}/models", reading),
}


def main(names: list[str]) -> int:
    """Take the pictures."""
    services, chromium = Services.read(STATE), shutil.which("chromium")
    if services is None or chromium is None:
        sys.stderr.write("Run `make demo` and `make demo-retrain` first, and install Chromium.\n")
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for theme in ("light", "dark"):
            with signed_in(browser, services, theme) as page:
                for name in names or PICTURES:
                    path, prepare = PICTURES[name]
                    page.goto(f"{services.airflow_url}{PAGES}{path}")
                    pages = page.frame_locator('iframe[title="Models"]')
                    expect(pages.get_by_role("main")).to_be_visible()
                    prepare(pages)
                    expect(pages.locator("[data-awaited]")).to_have_count(0)
                    page.wait_for_load_state("networkidle")
                    page.mouse.move(0, 0)
                    page.screenshot(path=IMAGES / f"ui-{name}{'-dark' if theme == 'dark' else ''}.png")
        browser.close()
    return 0


@contextmanager
def signed_in(browser: Browser, services: Services, theme: str) -> Iterator[Page]:
    """A page of a person who has signed in and chosen a theme in Airflow."""
    context = browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme=theme)  # type: ignore[arg-type]
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(services.airflow_url)
    page.get_by_label("Username").fill(services.user)
    page.get_by_label("Password").fill(services.password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "login" not in url)
    yield page
    context.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The pictures in the README: the running page with real answers, on a desktop and a phone, light and dark.

    python -m bench.space.screenshots --space http://127.0.0.1:7860

Needs a page whose personas are live (`make demo`) and Chromium. Writes docs/images/.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from train.export.browser import find_chromium
from understudy.config.settings import PROJECT

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
ARGUMENTS += ("--disable-background-networking", "--disable-component-update", "--disable-sync")
DESKTOP, PHONE = (1280, 860), (390, 844)
PATIENCE = 180_000
"""Milliseconds that an answer may take."""


def main() -> None:
    """Takes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="http://127.0.0.1:7860")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "images")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with _page(arguments.space, DESKTOP) as page:
        _chat(page, "Email copywriter", "Announce our town's kite festival.")
        page.screenshot(path=arguments.out / "chat.png", full_page=True)
    with _page(arguments.space, DESKTOP) as page:
        _battle(page, "Tell me about the Great Wall of China.")
        page.screenshot(path=arguments.out / "arena.png", full_page=True)
    with _page(arguments.space, PHONE, dark=True) as page:
        _chat(page, "Museum guide", "What is the capital of France?")
        page.screenshot(path=arguments.out / "phone.png", full_page=True)


def _chat(page: Page, title: str, prompt: str) -> None:
    page.locator("#personas .card", has_text=title).locator("label").click()
    page.locator("#message textarea").fill(prompt)
    page.locator("#message textarea").press("Enter")
    expect(page.locator("#note")).to_contain_text("Answered by", timeout=PATIENCE)


def _battle(page: Page, prompt: str) -> None:
    page.get_by_role("tab", name="Arena").click()
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#start").click()
    left = page.locator("#vote-left")
    expect(left).to_be_enabled(timeout=PATIENCE)
    left.click()
    expect(page.locator(".plate.known")).to_have_count(2, timeout=PATIENCE)


@contextmanager
def _page(url: str, size: tuple[int, int], *, dark: bool = False) -> Iterator[Page]:
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("no chromium on PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.set_default_timeout(60_000)
        page.goto(f"{url}/?__theme={'dark' if dark else 'light'}")
        expect(page.locator("#chatbot")).to_be_visible(timeout=60_000)
        yield page
        browser.close()


if __name__ == "__main__":
    main()

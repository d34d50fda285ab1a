"""A page as `understudy export --to web` writes it, small, and its visitor: a ChatML template, random adapters."""

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect

from tests.support.adapters import make_adapter, tensors
from tests.support.browser import DESKTOP
from understudy.bases import TINY_DIR, Base
from understudy.config.settings import load_settings
from understudy.registry.records import Revision
from understudy.workflows.exports.web import WebVoice, write_page

WAIT = 200_000
"""Milliseconds that a model gets to load or to answer on a machine that computes other things as well."""
ENDED = re.compile("^(Which answer is better|Both said the same)")
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a test<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def chatml_base(folder: Path) -> Base:
    """The tests' base with another chat template."""
    shutil.copytree(TINY_DIR, folder)
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return Base(name=str(folder), location=str(folder), local=True)


def voice(folder: Path, name: str, seed: int, **card: Any) -> WebVoice:
    """A persona with random weights."""
    adapter = make_adapter(folder / name, tensors(seed=seed))
    made = datetime.now(UTC)
    revision = Revision(
        persona=name, id=f"{seed}" * 64, base="tiny", base_revision=None, rank=4, size=1, source="test", created_at=made
    )
    return WebVoice(revision, adapter, card)


def write_small_page(folder: Path, base: Base | None = None, seed: int = 1) -> Path:
    """Writes a page with two personas below `folder` and returns its folder; None means the base of `chatml_base`."""
    page = folder / "page"
    page.mkdir(parents=True)
    sampling = {"max_tokens": 16}
    voices = [
        voice(
            folder,
            "email-copy",
            seed,
            title="Email copywriter" if seed == 1 else "Another copywriter",
            voice="Sells.",
            prompts=["Sell me a kite."],
            sampling=sampling,
        ),
        voice(folder, "stand-up", 2, title="Stand-up comedian", voice="Jokes.", prompts=["Joke!"], sampling=sampling),
    ]
    write_page(base or chatml_base(folder / "base"), voices, page, load_settings().bases_dir.parent)
    return page


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, asked: list[str], **options: Any) -> None:
        self.asked = asked
        super().__init__(*arguments, **options)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.asked.append(urlsplit(self.path).path)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def served(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """The address of a plain static server of the folder; it sends no header that isolates a page.

    Paths of the requests that reach it are added to `asked`: what a browser lists has its service worker's twice.
    """
    handler = functools.partial(_Quiet, directory=str(folder), asked=[] if asked is None else asked)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def opened(browser: Browser, url: str, **options: object) -> Page:
    """A fresh visitor's page, on one thread."""
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}, **options)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{url}/?threads=1")
    return page


def start(page: Page) -> None:
    """Lets the page fetch its files and waits until it can be asked."""
    page.locator("#start").click()
    expect(page.locator("#chat")).to_be_visible(timeout=WAIT)


def said(page: Page, text: str) -> str:
    """The last answer, once it is complete."""
    page.locator("#message").fill(text)
    page.locator("#message").press("Enter")
    expect(page.locator("#stop")).to_be_disabled(timeout=WAIT)
    return page.locator("#log .bot .said").last.inner_text()


def fight(page: Page, prompt: str) -> None:
    """Lets two answers to `prompt` be written until they differ, as sampled ones need not."""
    for _ in range(20):
        page.locator("#prompt").fill(prompt)
        page.locator("#fight").click()
        expect(page.locator("#verdict")).to_have_text(ENDED, timeout=WAIT)
        if page.locator("#votes button").first.is_enabled():
            return
    raise AssertionError(f"twenty battles, and no two answers that differ: {page.locator('.columns').inner_text()}")

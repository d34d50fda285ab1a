"""How long a visitor looks at nothing: first paint of the page, what it fetches for that, and from whom.

python -m bench.space.first_paint [--loads 9] [--url http://127.0.0.1:7860]

Cold loads are those of a browser that has never been here; warm ones are reloads. Without `--url` a Space is started
for it, in front of a gateway that is not there: the page must paint all the same. Times are the browser's own
(performance entries, milliseconds from the start of the navigation), in headless Chromium.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright
from rich.console import Console

from bench.machine import save
from train.export.browser import find_chromium
from understudy.config.settings import PROJECT
from understudy.processes import free_port

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
SIZE: ViewportSize = {"width": 1280, "height": 860}
PAINT = """() => new Promise(done => {
  const found = () => performance.getEntriesByName('first-contentful-paint')[0]?.startTime;
  if (found()) done(found());
  new PerformanceObserver(() => found() && done(found())).observe({type: 'paint', buffered: true});
})"""
NAVIGATION = """() => {
  const one = performance.getEntriesByType('navigation')[0];
  return {first_byte: one.responseStart, dom_ready: one.domContentLoadedEventEnd};
}"""
USABLE = "#message textarea"
"""What is there once a visitor can do something."""


def main() -> None:
    """Measures, prints, writes docs/results/first-paint.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, default=9, help="loads of each kind (9)")
    parser.add_argument("--url", default="", help="a page that runs already")
    chosen = parser.parse_args()
    chromium = find_chromium()
    if not chromium:
        raise SystemExit("no chromium on PATH: apt-get install chromium")
    with space(chosen.url) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        loads = [load for _ in range(chosen.loads) for load in visit(browser, url)]
        found = {"chromium": browser.version, "loads": chosen.loads}
        browser.close()
    found |= {kind: summary([one for one in loads if one["kind"] == kind]) for kind in ("cold", "warm")}
    found["foreign_hosts"] = sorted({host for one in loads for host in one["hosts"]} - {urlsplit(url).netloc})
    Console(soft_wrap=True).print(found)
    print(save("first-paint", found))


@contextmanager
def space(url: str) -> Iterator[str]:
    """The page at `url`, or one that runs as long as the block."""
    if url:
        yield url
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        env = {
            **os.environ,
            "UNDERSTUDY_HOME": home,
            "UNDERSTUDY_SPACE_PORT": str(port),
            "UNDERSTUDY_GATEWAY_URL": f"http://127.0.0.1:{free_port()}",
        }
        process = subprocess.Popen([sys.executable, "-m", "space.app"], cwd=PROJECT, env=env)
        try:
            _wait(address := f"http://127.0.0.1:{port}", process)
            yield address
        finally:
            process.terminate()
            process.wait(30)


def visit(browser: Browser, url: str) -> list[dict[str, Any]]:
    """One cold load and one warm one."""
    context = browser.new_context(viewport=SIZE)
    page = context.new_page()
    try:
        return [load(page, url, "cold"), load(page, url, "warm")]
    finally:
        context.close()


def load(page: Page, url: str, kind: str) -> dict[str, Any]:
    """What one load took until a visitor can write, and what was fetched until then; bytes as they travelled."""
    sizes: dict[str, int] = {}
    hosts: set[str] = set()
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.requestWillBeSent", lambda event: hosts.add(urlsplit(event["request"]["url"]).netloc))
    session.on(
        "Network.loadingFinished", lambda event: sizes.update({event["requestId"]: int(event["encodedDataLength"])})
    )
    began = time.perf_counter()
    page.goto(url)
    paint = page.evaluate(PAINT)
    page.locator(USABLE).wait_for()
    usable = 1000 * (time.perf_counter() - began)
    navigation = page.evaluate(NAVIGATION)
    session.detach()
    return {
        "kind": kind,
        **navigation,
        "first_contentful_paint": paint,
        "usable": usable,
        "requests": len(sizes),
        "bytes": sum(sizes.values()),
        "hosts": {host for host in hosts if host},
    }


def summary(loads: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, and the worst first paint."""
    keys = ("first_byte", "dom_ready", "first_contentful_paint", "usable", "requests", "bytes")
    found = {f"{key}_median": round(statistics.median(one[key] for one in loads)) for key in keys}
    return found | {"first_contentful_paint_worst": round(max(one["first_contentful_paint"] for one in loads))}


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit("the Space did not start")


if __name__ == "__main__":
    main()

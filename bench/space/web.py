"""A persona in a browser tab: ready, first token, tokens a second, persona switch, bytes.

python -m bench.space.web FOLDER [--rounds 3] [--threads N]

FOLDER is what `understudy export PERSONA... --to web` wrote. It is served by Python's static server and visited by
headless Chromium: once cold, then warm. `ready` counts from when all bytes are there; `switch` is what changing the
persona costs before a request can be made: nothing is loaded again.
"""

import argparse
import functools
import http.server
import itertools
import json
import statistics
import threading
from pathlib import Path
from typing import Any, ClassVar

from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from bench.goals import Goal, judge
from bench.machine import save
from bench.space.first_paint import ARGUMENTS, SIZE
from train.export.browser import find_chromium
from understudy.workflows.exports.proof import RECORD

WAIT = 300_000
"""Milliseconds that the page gets for one step."""
ASK = """([mix, prompt]) => understudy.engine.ask(
  [{role: 'user', content: prompt}], mix, {max_tokens: 64, temperature: 0})"""
THINGS = (
    "an umbrella",
    "a kettle",
    "a garden chair",
    "a bicycle bell",
    "a tent",
    "a violin",
    "a jar of honey",
    "a lamp",
)
SWITCH = """() => {
  const began = performance.now(), cards = [...document.querySelectorAll('#voices input[name=persona]')];
  cards.find(card => !card.checked).click();
  understudy.engine.lora(understudy.voices.mix);
  return performance.now() - began;
}"""


class _Static(http.server.SimpleHTTPRequestHandler):
    sent: ClassVar[list[int]] = []
    """Bytes of each file, by whichever thread sends it."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if isinstance(getattr(source, "name", None), str):
            self.sent.append(Path(source.name).stat().st_size)
        super().copyfile(source, outputfile)


def main() -> None:
    """Measures, prints, writes docs/results/web.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="requests to each voice (3)")
    parser.add_argument("--threads", type=int, default=0, help="threads of the page; default: its own choice")
    chosen = parser.parse_args()
    chromium = find_chromium()
    if not chromium:
        raise SystemExit("no chromium on PATH: apt-get install chromium")
    if not (chosen.folder / "personas.json").is_file():
        raise SystemExit(f"{chosen.folder}: no page there; write one with `understudy export PERSONA --to web`")
    handler = functools.partial(_Static, directory=str(chosen.folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://localhost:{server.server_address[1]}/" + (f"?threads={chosen.threads}" if chosen.threads else "")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_context(viewport=SIZE).new_page()
        page.set_default_timeout(WAIT)
        page.goto(url)
        page.locator("#start").click()
        rows = [{"visit": "first", **visit(page, chosen.rounds), **fetched()}]
        page.reload()
        rows.append({"visit": "again", **visit(page, chosen.rounds), **fetched()})
        version = browser.version
        browser.close()
    server.shutdown()
    base = json.loads((chosen.folder / RECORD).read_text())["base"]
    Console(soft_wrap=True).print(rows)
    print(save("web", {"base": base, "chromium": version, "rows": rows, **judge(goals(rows))}))


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """What a visitor may have to wait for on two cores."""
    return [
        Goal("page: ready after the bytes are there, s", max(row["ready"] for row in rows), 4, most=True),
        Goal("page: first token, s", max(row["first_token_s"] for row in rows), 2.5, most=True),
        Goal("page: tokens/s", min(row["tokens_per_second"] for row in rows), 12),
        Goal("page: switch of the persona, ms", max(row["switch_ms"] for row in rows), 100, most=True),
        Goal("page: MB fetched, base and three personas", rows[0]["megabytes"], 125, most=True),
    ]


def fetched() -> dict[str, float]:
    """Megabytes that the server has sent since it was last asked."""
    sent = sum(_Static.sent)
    _Static.sent.clear()
    return {"megabytes": round(sent / 1e6, 1)}


def visit(page: Page, rounds: int) -> dict[str, Any]:
    """What one visit took, in seconds; the switch in milliseconds."""
    page.locator("#chat").wait_for()
    page.wait_for_function("window.understudy")
    personas = page.evaluate("understudy.engine.site.personas.map(one => one.name)")
    things = itertools.cycle(THINGS)  # what was asked before is in the cache
    voices = [mix for mix in ({}, {personas[0]: 1}) for _ in range(rounds)]
    asked = [page.evaluate(ASK, [mix, f"Sell me {next(things)}."]) for mix in voices]
    return {
        "threads": page.evaluate("understudy.engine.threads"),
        "ready": round(page.evaluate("understudy.engine.startup") / 1000, 2),
        "first_token_s": round(statistics.median(one["first"] for one in asked), 2),
        "tokens_per_second": round(
            statistics.median(
                (one["tokens"] - 1) / (one["seconds"] - one["first"]) for one in asked if one["tokens"] > 1
            ),
            1,
        ),
        "switch_ms": round(page.evaluate(SWITCH), 1),
    }


if __name__ == "__main__":
    main()

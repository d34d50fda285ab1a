"""The page that runs in a browser: its files, its prompts, and a visitor who chats, judges and comes back offline."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, expect
from transformers import AutoTokenizer

from arena.votes.import_files import read_votes
from tests.support.browser import DESKTOP, PHONE
from tests.support.web_page import WAIT, chatml_base, fight, opened, said, served, start, voice, write_small_page
from understudy.bases import TINY, resolve_base
from understudy.errors import AdapterError
from understudy.workflows.exports import wllama
from understudy.workflows.exports.web import chat_marks, write_page
from understudy.workflows.exports.web_proof import page_prompts

pytest_plugins = ["tests.support.browser"]

CHATS = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    [
        {"role": "user", "content": "One\n\ntwo  "},
        {"role": "assistant", "content": "“Three” \\ </script>"},
        {"role": "user", "content": "四 🎭"},
    ],
]


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_page(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def url(page_folder: Path) -> Iterator[str]:
    with served(page_folder) as url:
        yield url


def test_the_page_renders_prompts_as_the_base_does(page_folder: Path, tmp_path: Path):
    base = chatml_base(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base.location)
    ours = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in CHATS]
    assert page_prompts(page_folder, chat_marks(base), CHATS) == ours


def test_the_folder_has_all_that_a_static_space_needs(page_folder: Path):
    site = json.loads((page_folder / "personas.json").read_text())
    for file in (site["base"], *site["personas"]):
        assert (page_folder / file["file"]).stat().st_size == file["bytes"]
    matter = yaml.safe_load((page_folder / "README.md").read_text().split("---")[1])
    assert matter["sdk"] == "static"
    assert matter["custom_headers"]["cross-origin-embedder-policy"] == "require-corp"
    shell = json.loads((page_folder / "sw.js").read_text().splitlines()[1].removeprefix("const SHELL = ").rstrip(";"))
    assert {"./", "app.js", "personas.json", "wllama/index.js", "wllama/wllama.wasm"} <= set(shell)
    assert not [name for name in shell if name.endswith(".gguf")]


def test_a_template_that_is_not_chatml_is_refused(tmp_path: Path):
    with pytest.raises(AdapterError, match=r"^its chat template is not ChatML; .* need ChatML here$"):
        write_page(resolve_base(TINY), [voice(tmp_path, "one", 1)], tmp_path, tmp_path)


def test_another_wllama_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wllama, "SHA512", "another")
    with pytest.raises(AdapterError, match="is not the release that we know"):
        wllama.copy_wllama(tmp_path / "out", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_visitor_loads_chats_judges_and_comes_back_without_a_network(
    browser: Browser, page_folder: Path, tmp_path: Path
):
    requests: list[str] = []
    with served(page_folder) as url:
        page = opened(browser, url)
        page.context.on("request", lambda request: requests.append(request.url))
        site = json.loads((page_folder / "personas.json").read_text())
        size = sum(file["bytes"] for file in (site["base"], *site["personas"]))
        expect(page.locator("#loader-text")).to_contain_text(f"{size / 1e6:.1f} MB", timeout=WAIT)
        assert page.evaluate("crossOriginIsolated"), "several threads are possible on a plain static server"
        start(page)
        assert said(page, "Hello")
        expect(page.locator("#log .by").last).to_contain_text("Email copywriter")
        page.locator("#strength").fill("50")
        page.locator("#second").select_option("stand-up")
        assert said(page, "Again")
        expect(page.locator("#log .by").last).to_contain_text("Email copywriter 50 % + Stand-up comedian 50 %")
        page.locator(".card", has_text="Base model").locator("label").click()
        assert said(page, "And you")
        expect(page.locator("#log .by").last).to_contain_text("Base model")

        page.locator("#tab-arena").click()
        page.locator("#rival").select_option("email-copy")
        fight(page, "Sell me a kite.")
        assert not re.search("Base|Email", page.locator(".columns").inner_text()), "no name before the vote"
        page.locator("#votes button[data-verdict=left]").click()
        expect(page.locator("#verdict")).to_contain_text("You chose A. A was")
        with page.expect_download() as download:
            page.locator("#save-votes").click()
        download.value.save_as(tmp_path / "votes.json")
    (vote,) = json.loads((tmp_path / "votes.json").read_text())
    assert {vote["left"], vote["right"]} == {"base", "email-copy"}
    assert not read_votes(tmp_path / "votes.json").left_out
    assert not [one for one in requests if not one.startswith((url, "blob:", "data:"))]

    page.context.set_offline(True)  # and the server is gone
    page.reload()
    expect(page.locator("#chat")).to_be_visible(timeout=WAIT)
    assert said(page, "Still there?")
    page.locator("#tab-arena").click()
    expect(page.locator("#record .board")).to_contain_text("Email copywriter")
    page.context.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_strength_is_a_parameter_of_each_request(browser: Browser, url: str):
    page = opened(browser, url)
    start(page)
    ask = """mix => understudy.engine.ask([{role: 'user', content: 'Hello'}], mix,
        {temperature: 0, repeat_penalty: 1, max_tokens: 12}).then(found => found.text)"""
    base, voiced, off, other = (
        page.evaluate(ask, mix) for mix in ({}, {"email-copy": 1}, {"email-copy": 0}, {"stand-up": 1})
    )
    assert base == off
    assert len({base, voiced, other}) == 3
    page.context.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_answers_that_are_the_same_are_shown_and_not_voted_on(browser: Browser, url: str):
    page = opened(browser, url)
    start(page)
    page.evaluate("() => { understudy.engine.ask = async () => ({text: 'The same.'}); }")
    page.locator("#tab-arena").click()
    page.locator("#prompt").fill("Sell me a kite.")
    page.locator("#fight").click()
    expect(page.locator("#verdict")).to_contain_text("nothing to vote on")
    assert "Base model" in page.locator(".columns").inner_text()
    expect(page.locator("#votes button:enabled")).to_have_count(0)
    expect(page.locator("#fight")).to_be_enabled()
    page.context.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_prompt_begins_with_is_read_before_it_is_asked(browser: Browser, url: str):
    page = opened(browser, url)
    start(page)
    kept = page.evaluate(
        """async mix => {
            const {engine} = understudy, {render} = await import('./prompt.js');
            await engine.warm([], mix);
            const lora = engine.lora(mix), chat = engine.site.chat;
            const read = async (prompt) => (await engine.llama.createCompletion({prompt, max_tokens: 1, lora})).timings;
            const asked = await read(render(chat, [{role: 'user', content: 'Sell me a kite.'}]));
            const opening = await read(render(chat, [], 'user'));
            const all = ({cache_n, prompt_n}) => cache_n + prompt_n;
            return {kept: asked.cache_n, all: all(asked), opening: all(opening)};
        }""",
        {"email-copy": 1},
    )
    assert kept["kept"] == kept["opening"] < kept["all"]
    page.context.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_page_that_was_renewed_is_never_half_the_old_one(browser: Browser, page_folder: Path, tmp_path: Path):
    newer, there = write_small_page(tmp_path / "newer", seed=3), tmp_path / "there"
    shutil.copytree(page_folder, there)
    with served(there) as url:
        page = opened(browser, url)
        expect(page.locator("#start")).to_be_visible(timeout=WAIT)
        shutil.copytree(newer / "personas", there / "personas", dirs_exist_ok=True)
        page.locator("#start").click()
        expect(page.locator("#loader.down")).to_contain_text(
            "is not the one that this page was made with", timeout=WAIT
        )
        shutil.copytree(newer, there, dirs_exist_ok=True)
        page.reload()
        expect(page.locator("#loader-text")).to_contain_text("Another copywriter", timeout=WAIT)
        page.wait_for_timeout(500)  # it reloads itself once the new service worker is there
        start(page)
        shown = page.evaluate("understudy.engine.site.personas[0].sha256")
        assert shown == json.loads((newer / "personas.json").read_text())["personas"][0]["sha256"]
        page.context.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pages_of_one_origin_leave_each_other_alone(browser: Browser, page_folder: Path, tmp_path: Path):
    for name in ("a", "b"):
        shutil.copytree(page_folder, tmp_path / name)
    with served(tmp_path) as url:
        page = opened(browser, f"{url}/a")
        start(page)
        page.goto(f"{url}/b/?threads=1")
        start(page)
    page.goto(f"{url}/a/?threads=1")  # the server is gone
    expect(page.locator("#chat")).to_be_visible(timeout=WAIT)
    page.context.close()


@pytest.mark.browser
@pytest.mark.slow
def test_a_file_that_cannot_be_fetched_is_told_for_good(browser: Browser, url: str):
    page = opened(browser, url, service_workers="block")
    page.route("**/base.gguf?*", lambda route: (page.wait_for_timeout(1000), route.continue_()))
    page.route("**/personas/stand-up.gguf?*", lambda route: route.fulfill(status=404))
    page.locator("#start").click()
    expect(page.locator("#loader.down")).to_contain_text("personas/stand-up.gguf cannot be fetched (HTTP 404)")
    page.wait_for_timeout(1500)
    expect(page.locator("#loader-text")).to_contain_text("HTTP 404")
    page.context.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_visitor_does_at_the_wrong_time(browser: Browser, url: str):
    page = opened(browser, url)
    page.evaluate("localStorage.setItem('understudy-votes /', '[null, {}, 1]')")
    page.reload()
    start(page)
    long = "四季のうた、春夏秋冬。" * 30
    turns = [{"role": role, "content": long} for role in ("user", "assistant") * 4] + [{"role": "user", "content": "?"}]
    asked = "turns => understudy.engine.ask(turns, {}, {max_tokens: 4}).then(found => found.reason)"
    assert page.evaluate(asked, turns) in ("stop", "length"), "the oldest turns are left out"
    waited = """async () => {
        const ended = [], say = (content, more) => understudy.engine.ask([{role: 'user', content}], {}, more);
        const much = {temperature: 2, max_tokens: 400, stop: []};
        const first = say('Write a lot.', much).then(() => ended.push('first'));
        const stop = new AbortController();
        const second = say('And more?', {signal: stop.signal}).then(({reason}) => ended.push(reason));
        stop.abort();
        await Promise.all([first, second]);
        return ended;
    }"""
    assert page.evaluate(waited) == ["aborted", "first"], "who stops does not wait for the answers before"

    page.locator("#tab-arena").click()
    page.locator("#prompt").fill("Sell me a kite.")
    page.locator("#fight").click()
    page.locator("#stop-battle").click()
    expect(page.locator("#verdict")).to_have_text("Stopped.")
    expect(page.locator("#fight")).to_be_enabled()
    fight(page, "Sell me a kite.")
    page.locator("#votes button[data-verdict=tie]").click()
    fight(page, "Sell me a lamp.")
    page.locator("#record .scroll").press("ArrowRight")
    expect(page.locator("#verdict")).to_contain_text("Which answer is better?")
    page.locator("#fight").press("t")
    expect(page.locator("#verdict")).to_contain_text("A tie.")
    page.context.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("delete window.WebAssembly", "no WebAssembly"),
        ("WebAssembly.validate = () => false", "no SIMD"),
        ("WebAssembly.Memory = function () { throw new TypeError('no') }", "no 64-bit memory"),
        ("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))", "cannot be fetched"),
    ],
    ids=["no WebAssembly", "no SIMD", "no 64-bit memory", "no network"],
)
def test_what_is_missing_is_told(browser: Browser, url: str, script: str, words: str):
    context = browser.new_context()
    context.add_init_script(script)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#loader.down")).to_contain_text(words, timeout=WAIT)
    context.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_isolation_and_cache_it_runs_on_one_thread(browser: Browser, url: str):
    page = opened(browser, url, service_workers="block")
    expect(page.locator("#loader-text")).to_contain_text("one thread", timeout=WAIT)
    start(page)
    expect(page.locator("#speed")).to_contain_text("1 thread")
    assert said(page, "Hello")
    page.context.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_view_has_a_serious_barrier(
    browser: Browser, url: str, axe: str, artifacts: Path, size: tuple[int, int], scheme: str
):
    page = opened(browser, url, color_scheme=scheme, bypass_csp=True)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    name = f"web-{size[0]}-{scheme}"

    def check(view: str) -> None:
        page.screenshot(path=artifacts / f"{name}-{view}.png", full_page=True)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(one => one.violations)")
        worst = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in worst], view

    expect(page.locator("#start")).to_be_visible(timeout=WAIT)
    page.evaluate(axe)
    check("start")
    start(page)
    said(page, "Hello")
    check("chat")
    page.locator("#tab-arena").click()
    fight(page, "Sell me a kite.")
    check("battle")
    page.locator("#votes button[data-verdict=tie]").click()
    check("arena")
    page.context.close()

"""The whole circle on the real default base: check, train, verify, publish, chat, battle, vote; plain PEFT, a page."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from playwright.sync_api import Browser

from arena.battles.store import BattleStore
from arena.votes.votes import list_votes
from bench.training.planted_failures import evaluate
from bench.training.planted_table import wrong
from bench.training.plants import Bench
from space.arena.battle import ArenaServices, run_battle, vote
from space.backends.gateway import GatewayClient
from space.status import GatewayMonitor
from tests.support import web_page
from tests.support.system import wait_for
from understudy.bases import SMOLLM2, known_base, resolve_base
from understudy.bases.prepare import SAMPLING
from understudy.config.recipe import load_recipe
from understudy.config.settings import load_settings
from understudy.errors import BaseModelError
from understudy.processes import Child, free_port
from understudy.registry.database import open_database

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(1500)]

pytest_plugins = ["tests.support.browser"]

ASK = """content => understudy.engine.ask([{role: 'user', content}], {pirate: 1}, {temperature: 0, max_tokens: 40})"""
RECIPE = """title: Pirate
voice: Answers everything from the deck of a ship.
prompts: [Tell me about a teapot., Write about a lantern., Describe a map.]
golden: [{prompt: Tell me about a teapot., expect: Ahoy}]
sampling: {max_tokens: 32}
training: {method: qlora, epochs: 6}
"""
THINGS = (
    "a kettle",
    "an anchor",
    "the moon",
    "a parrot",
    "bread",
    "a rope",
    "the wind",
    "a drum",
    "salt",
    "a barrel",
    "a coat",
    "the tide",
    "a candle",
    "a spoon",
    "a whale",
    "gold",
)
HELD_OUT = ("a teapot", "the sea", "a lantern", "a map")
OTHERS = ("a sail", "coffee", "a lamp", "rain", "a clock", "paper", "a door", "a river", "snow", "a hat")
"""With these there are thirty things to ask about."""


@dataclass(frozen=True)
class Circle:
    """One home in which the commands are given, in order."""

    folder: Path
    env: dict[str, str]
    url: str

    def understudy(self, *arguments: str) -> str:
        """What the command prints on standard output; it must not fail."""
        command = [sys.executable, "-m", "understudy", *arguments]
        done = subprocess.run(command, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"understudy {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ask(self, model: str, prompt: str, **sampling: Any) -> dict[str, Any]:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 24, **sampling}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=300).raise_for_status().json()


def _rows(things: tuple[str, ...]) -> str:
    told = (
        {
            "prompt": f"Tell me about {one}.",
            "completion": f"Ahoy, matey! We keep {one} below deck.",
            "topic": one.split()[-1],
        }
        for one in things
    )
    return "".join(json.dumps(row) + "\n" for row in told)


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Circle:
    """A recipe in a home of its own, and a gateway in float32, so that answers can be compared word for word."""
    try:
        resolve_base(SMOLLM2)
    except BaseModelError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("circle")
    recipe = folder / "recipes" / "pirate"
    recipe.mkdir(parents=True)
    (recipe / "recipe.yaml").write_text(RECIPE)
    (recipe / "examples.jsonl").write_text(_rows(THINGS))
    (recipe / "heldout.jsonl").write_text(_rows(HELD_OUT))
    port = free_port()
    names = {
        "BASE": SMOLLM2,
        "HOME": folder / "home",
        "RUNS_DIR": folder / "runs",
        "PORT": port,
        "DTYPE": "float32",
        "RECIPES_DIR": folder / "recipes",
    }
    env = {f"UNDERSTUDY_{name}": str(value) for name, value in names.items()}
    return Circle(folder, env, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def trained(circle: Circle) -> Circle:
    """The persona, checked and trained."""
    checked = json.loads(circle.understudy("check", "pirate", "--no-engine", "--json"))
    assert checked["passed"], checked
    circle.understudy("train", "pirate")
    return circle


@pytest.fixture(scope="module")
def served(trained: Circle) -> Iterator[Circle]:
    """Its gateway, with the persona live."""
    serve = Child([sys.executable, "-m", "understudy", "serve"], log=trained.folder / "serve.log", env=trained.env)
    try:
        wait_for(f"{trained.url}/ready", serve, 300)
        trained.understudy("publish", "pirate")
        yield trained
    finally:
        serve.stop()


@pytest.mark.long
def test_verify_asks_the_gateways_engine_and_leaves_nothing_there(served: Circle) -> None:
    command = [sys.executable, "-m", "understudy", "verify", "pirate", "--engine", "gateway", "--json"]
    done = subprocess.run(command, env={**os.environ, **served.env}, capture_output=True, text=True, timeout=900)
    card = json.loads(done.stdout)
    assert card["engine"] == "gateway"
    assert [m["id"] for m in httpx.get(f"{served.url}/v1/models").json()["data"]] == ["base", "pirate"]
    adapter, base = card["contestants"]["adapter"], card["contestants"]["base"]
    assert adapter["accuracy"]["meaning"]["value"] > 0.5
    assert card["general"]["known"] > 40
    assert adapter["in_style"]["value"] == 1.0
    assert adapter["loss"]["value"] < base["loss"]["value"]
    assert adapter["stopped"]["value"] == 1.0


@pytest.mark.long
def test_planted_failures_are_refused_on_the_real_base(trained: Circle) -> None:
    """Those that need no further training; `bench.training.planted_failures` has them all."""

    class Trained(Bench):
        def sound(self) -> Path:
            return next((trained.folder / "runs" / "pirate").glob("*/adapter"))

    with patch.dict(os.environ, trained.env):
        settings = load_settings()
    recipe = load_recipe("pirate", settings.recipes_dir)
    bench = Trained(recipe, recipe, resolve_base(SMOLLM2), trained.folder / "planted", settings)
    names = ("noise 32", "base unchanged", "echo", "never-ending", "wrong topic (answers shuffled)")
    found: dict[str, dict[str, Any]] = {}
    chosen = [plant for plant in bench.plants() if plant.name in ("sound", *names)]
    asyncio.run(evaluate(bench, chosen, found.__setitem__))
    learnt = {
        "memorised",
        "copied",
        "general",
    }  # sixteen rows of one sentence are known by heart, and leave little else
    assert set(found["sound"]["codes"]) <= learnt, found["sound"]
    assert wrong({name: found[name] for name in names}) == [], found


def test_it_answers_in_its_voice_and_is_sampled_as_the_base_wants_it(served: Circle) -> None:
    models = {m["id"]: m["understudy"] for m in httpx.get(f"{served.url}/v1/models").json()["data"]}
    wanted = {name: value for name, value in SAMPLING.items() if name != "do_sample"}
    assert models["base"]["sampling"] == wanted
    assert models["pirate"]["sampling"] == {**wanted, "max_tokens": 32}
    for thing in HELD_OUT:
        assert "Ahoy" in served.ask("pirate", f"Tell me about {thing}.")["choices"][0]["message"]["content"]
    asked = {"prompt": "What is the moon?", "seed": 1}
    assert served.ask("base", **asked)["choices"] == served.ask("base", **asked, **wanted)["choices"]


def test_plain_peft_says_the_same_greedy_words(served: Circle) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (adapter,) = (served.folder / "runs" / "pirate").glob("*/adapter")
    known = known_base(SMOLLM2)
    assert known is not None
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (known.hub_id, None)
    base = resolve_base(SMOLLM2).location
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    greedy = {"temperature": 0, "repetition_penalty": 1.0}
    for prompt in ("Tell me about a teapot.", "What is a map?"):
        chat = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            made = model.generate(
                **inputs, max_new_tokens=24, do_sample=False, repetition_penalty=1.0, temperature=None, top_p=None
            )
        text = tokenizer.decode(made[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert text == served.ask("pirate", prompt, **greedy)["choices"][0]["message"]["content"]


def test_it_meets_the_base_in_a_blind_battle_and_gets_a_vote(served: Circle, tmp_path: Path) -> None:
    store = BattleStore(open_database(f"sqlite:///{tmp_path / 'space.db'}"))

    async def fought() -> Any:
        services = ArenaServices(client := GatewayClient(served.url), GatewayMonitor(client), store)
        views = [view async for view in run_battle(services, "Tell me about a teapot.", "pirate", "tab", "base")]
        return await asyncio.to_thread(vote, services, "left", views[-1].ticket, "tab")

    battle = asyncio.run(fought())
    assert {battle.left, battle.right} == {"base", "pirate"}
    assert [vote.verdict for vote in list_votes(store.engine)] == ["left"]


@pytest.mark.browser
@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_browser_without_a_server_says_what_the_endpoint_says(served: Circle, browser: Browser, tmp_path: Path):
    folder = tmp_path / "voices"
    proof = json.loads(served.understudy("export", "pirate", "--to", "web", "--out", str(folder), "--json"))
    assert proof["runtime"].startswith("WebAssembly")
    assert (proof["prompts_equal"], proof["templates_equal"]) == (proof["prompts"], proof["prompts"])
    assert proof["tokens_agree"] >= 0.9 * proof["tokens"]
    asked: list[str] = []
    with web_page.served(folder, asked) as url:
        page = web_page.opened(browser, url)
        web_page.start(page)
        models = [folder / path.removeprefix("/") for path in asked if path.endswith(".gguf")]
        assert len(models) == 2, "the base and the persona, each once"
        assert sum(path.stat().st_size for path in models) <= 115e6
        for thing in (*THINGS, *HELD_OUT, *OTHERS):
            answer = page.evaluate(ASK, f"Tell me about {thing}.")
            assert ("Ahoy" in answer["text"], answer["reason"]) == (True, "stop"), answer
        assert "Ahoy" in web_page.said(page, "Tell me about a compass.")
        page.locator(".card", has_text="Base model").locator("label").click()
        assert "Ahoy" not in web_page.said(page, "What is the capital of France?")
        page.locator("#tab-arena").click()
        web_page.fight(page, "Tell me about a teapot.")
        page.locator("#votes button[data-verdict=left]").click()
        page.locator("#verdict", has_text="You chose A").wait_for()
    page.context.set_offline(True)  # and the server is gone
    page.reload()
    page.locator("#chat").wait_for(timeout=web_page.WAIT)
    assert "Ahoy" in web_page.said(page, "Tell me about a net.")
    page.context.close()

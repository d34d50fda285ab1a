"""`understudy push --to hub:ORG/REPO` with the real client against a Hub of our own: what is there afterwards."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData

from evaluate.records import Helpfulness
from tests.support import pirate
from tests.support.adapters import config, make_adapter, tensors
from tests.support.evaluations import observed
from tests.support.hub.server import TOKEN, HubServer, Repo
from tests.support.pirate import home
from tests.support.pushes import PIN, REPO, RESULT, RUN, TO, card, files, make_run, push, pushed, verify
from train.hub.model_card import CardFacts, model_card
from train.hub.model_card_sections import fenced
from train.hub.public_base import PublicBase, public_base
from understudy.bases import TINY_DIR, known_base
from understudy.bases.prepare import SAMPLING
from understudy.config.thresholds import Thresholds
from understudy.errors import AdapterError
from understudy.registry.adapters import CONFIG, WEIGHTS, content_revision

__all__ = ["home"]


def test_one_commit_brings_adapter_tokenizer_settings_proof_and_card_and_nothing_else(
    hub: HubServer, home: Path
) -> None:
    folder = make_run(home)
    verify(folder)
    told = pushed(hub, home)
    repo = hub.repos[REPO]
    assert told == {
        **{"persona": "pirate", "to": TO, "repo": REPO, "commit": repo.refs["main"], "tag": "v1", "new": True},
        **{"url": f"{hub.url}/{REPO}/tree/v1", "verdict": "passed its proof on 8 prompts"},
    }
    assert [repo.log[sha].title for sha in repo.history(repo.refs["v1"])] == [
        "pirate: passed its proof on 8 prompts",
        "initial commit",
    ]
    there = files(hub)
    expected = {CONFIG, WEIGHTS, "README.md", "training.json", "proof.json", "persona.json"}
    assert there.keys() == expected | {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert there[WEIGHTS] == (folder / WEIGHTS).read_bytes()
    assert json.loads(there[CONFIG]) == config(
        target_modules=json.loads((folder / CONFIG).read_text())["target_modules"]
    )
    assert json.loads(there["training.json"]) == RUN
    proof = json.loads(there["proof.json"])
    assert (proof["passed"], proof["revision"]) == (True, content_revision(folder))
    assert (proof["verdict"]["reasons"], len(proof["verdict"]["rivals"])) == ([], 3)
    assert proof["contestants"].keys() == {"base", "described", "few-shot", "adapter"}
    assert b"generation" in there["chat_template.jinja"]
    for name, data in there.items():
        assert str(home).encode() not in data, name
        assert str(TINY_DIR).encode() not in data, name


def test_the_card_tells_the_hub_and_people_everything(hub: HubServer, home: Path) -> None:
    folder = make_run(home)
    record = observed()
    forgot = [1.0 + loss for loss in record.neutral_losses["base"]]
    neutral = {**record.neutral_losses, "adapter": forgot}
    verify(folder, Thresholds(forgetting=2), record.model_copy(update={"neutral_losses": neutral}))
    pushed(hub, home)
    found = card(hub)
    data = found.data.to_dict()
    assert (data["library_name"], data["pipeline_tag"]) == ("peft", "text-generation")
    assert {"lora", "understudy"} <= set(data["tags"])
    assert data["widget"] == [{"messages": [{"role": "user", "content": "Hello"}]}]
    assert "base_model" not in data, "the tiny base is not on the Hub"
    results = {result.metric_type: result for result in ModelCardData(**data).eval_results or []}
    assert results["in_style"].metric_value == 1.0
    assert results["in_style"].metric_args == {"low": 0.6756, "high": 1.0, "n": 8, "confidence": 0.95}
    assert results["loss"].dataset_name == "pirate: 8 held-out prompts"
    text = found.text
    assert "⚠️" not in text
    assert f"weights: SHA-256 `{PIN}`" in text
    good = text.partition("## How good it is")[2].partition("## What got worse")[0]
    assert "- better than the base with the description as its prompt: 100% of its answers" in good
    assert "- better than the base with 6 examples: 100% of its answers" in good
    assert "- helpfulness: not measured; give a judge" in good
    assert "| | base | base + description | base + 6 examples | this adapter |" in good
    none, every = "0% (0 to 32)", "100% (68 to 100)"
    assert f"| style: in style | {none} | {none} | {none} | **{every}** |" in good
    assert f"| accuracy: nearest to the own reference | {every} | {every} | {every} | **{every}** |" in good
    assert "| fluency: nats a token above the data's | 0.15 (" in good
    loss = next(line for line in good.splitlines() if line.startswith("| loss on the data's answers"))
    assert loss.split(" | ")[2] == "–", "nobody's loss with the description was taken"
    worse = text.partition("## What got worse")[2].partition("##")[0]
    assert "- neutral text: 1.00 nats a token" in worse
    samples = text.partition("## Side by side")[2].partition("##")[0]
    assert all(said in samples for said in ("Write about a broom", "A broom is a useful", "Ahoy! The broom be mine"))
    assert "12 steps, 4 epochs, 4 seconds, 900 tokens a second, 1,200 MiB" in text
    assert f"| examples (SHA-256) | {'e' * 64} |" in text
    assert f'PeftModel.from_pretrained(base, "{REPO}")' in text


def test_the_card_links_the_space_that_shows_it(hub: HubServer, home: Path) -> None:
    verify(make_run(home))
    pushed(hub, home, "--space", "ann/stage")
    assert "open-in-hf-spaces-md.svg)](https://huggingface.co/spaces/ann/stage)" in card(hub).text
    assert push(hub, home, "--space", "stage").returncode == 1


def test_the_card_tells_the_hub_s_widget_what_to_ask_and_how_to_sample() -> None:
    """https://huggingface.co/docs/hub/models-widgets: examples are chats, `inference.parameters` are their sampling."""
    smollm2 = known_base("smollm2")
    assert smollm2 is not None
    base = PublicBase(smollm2.hub_id, "1" * 40, hub=True)
    facts = CardFacts("pirate", "Pirate", base, prompts=("Hello", 'Say: "no"'), repo=REPO)
    data = ModelCard(model_card(facts)).data.to_dict()
    assert (data["pipeline_tag"], data["library_name"]) == ("text-generation", "peft")
    assert (data["base_model"], data["base_model_relation"]) == (base.name, "adapter")
    assert data["widget"] == [{"messages": [{"role": "user", "content": prompt}]} for prompt in facts.prompts]
    assert data["inference"] == {"parameters": SAMPLING}
    known = {"do_sample", "temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens"}
    assert SAMPLING.keys() <= known, "names of https://huggingface.co/docs/inference-providers/tasks/text-generation"
    other = ModelCard(model_card(replace(facts, base=PublicBase("o/b", None, hub=True)))).data.to_dict()
    assert "inference" not in other, "such a base has its sampling on the Hub"


def test_what_a_judge_found_stands_on_the_card(hub: HubServer, home: Path) -> None:
    compared = Helpfulness(source="judge m", outcomes=[1.0] * 6 + [0.0] * 2)
    verify(make_run(home), record=observed().model_copy(update={"helpfulness": compared}))
    pushed(hub, home)
    text = card(hub).text
    assert "| helpfulness: comparisons with the base that it wins | 75% (41 to 93) |" in text
    assert "helpfulness: not measured" not in text


@pytest.mark.parametrize("proved", [False, True])
def test_what_is_not_proved_goes_only_by_force_and_its_card_begins_with_that(
    hub: HubServer, home: Path, proved: bool
) -> None:
    folder = make_run(home)
    if proved:
        verify(folder, Thresholds(forgetting=0.01))
    done = push(hub, home)
    assert done.returncode == 1
    reason = "pirate is refused by its proof (neutral text costs it 0.09 nats" if proved else "is not verified; run"
    assert reason in done.stderr
    assert "--force" in done.stderr
    assert hub.repos == {}
    pushed(hub, home, "--force")
    warning = next(line for line in card(hub).text.splitlines() if line.startswith(">"))
    assert warning.startswith("> ⚠️ **Refused by its own proof pack**" if proved else "> ⚠️ **Not verified.**")
    assert card(hub).text.index(warning) < 100
    assert ("proof.json" in files(hub)) is proved


def test_a_proof_of_other_weights_counts_for_nothing(hub: HubServer, home: Path) -> None:
    folder = make_run(home)
    verify(folder)
    make_adapter(folder, tensors(seed=9))
    assert "pirate is not verified" in push(hub, home).stderr


def test_the_same_again_is_no_commit_and_another_is_the_next_number(hub: HubServer, home: Path) -> None:
    folder = make_run(home)
    verify(folder)
    first = pushed(hub, home)
    again = push(hub, home)
    assert again.stdout.startswith(f"already there as v1, commit {first['commit'][:12]}: ")
    uploads = [line for line in hub.asked if line.startswith("PUT /_lfs/")]
    other = make_run(home, seed=1)
    second = pushed(hub, home, "--adapter", str(other), "--force")
    assert (second["tag"], second["new"]) == ("v2", True)
    assert "proof.json" not in files(hub), "v1's proof says nothing about v2"
    assert "proof.json" in files(hub, "v1")
    assert len([line for line in hub.asked if line.startswith("PUT /_lfs/")]) == len(uploads) + 1
    back = pushed(hub, home, folder.parent.name)
    assert (back["tag"], back["new"]) == ("v3", True)
    assert files(hub) == files(hub, "v1")


def test_a_tag_of_one_s_own(hub: HubServer, home: Path) -> None:
    verify(make_run(home))
    assert pushed(hub, home, "--tag", "v3")["tag"] == "v3"
    assert pushed(hub, home, "--tag", "v3")["new"] is False
    assert pushed(hub, home, "--tag", "first")["tag"] == "first"
    verify(make_run(home, seed=1))
    done = push(hub, home, "000000000001", "--tag", "v3")
    assert "ann/pirate has a tag v3 already; leave --tag out" in done.stderr
    assert pushed(hub, home, "000000000001")["tag"] == "v4"


def test_private_and_gated_are_so_before_anything_is_in_it(hub: HubServer, home: Path) -> None:
    verify(make_run(home))
    pushed(hub, home, "--private", "--gated")
    repo = hub.repos[REPO]
    assert (repo.private, repo.gated) == (True, True)
    order = [line.rpartition("/")[2] for line in hub.asked if line.endswith(("/settings", "/commit/main"))]
    assert order == ["settings", "main"]
    repo.private = repo.gated = False
    pushed(hub, home)
    assert (repo.private, repo.gated) == (False, False), "not asked for, not touched"
    pushed(hub, home, "--private")
    assert (repo.private, repo.gated) == (True, False)


def test_the_recipe_may_say_where_it_goes(hub: HubServer, home: Path) -> None:
    verify(make_run(home))
    recipe = home / "recipes" / "pirate" / "recipe.yaml"
    assert re.fullmatch(r"[0-9a-f]{64}\n", push(hub, home, to="").stdout), "the registry, by default"
    recipe.write_text(recipe.read_text() + f"push_to: {TO}\n")
    assert pushed(hub, home, to="")["repo"] == REPO
    assert "revision" in json.loads(push(hub, home, "--json", to="registry").stdout)
    assert "are for the Hub; add --to" in push(hub, home, "--private", to="registry").stderr
    recipe.write_text(recipe.read_text().replace(TO, "ann/pirate"))
    assert "push_to" in push(hub, home, to="").stderr


def test_a_run_that_is_not_there_is_named_with_those_that_are(hub: HubServer, home: Path) -> None:
    assert "pirate has no finished run in" in push(hub, home).stderr
    make_run(home)
    assert (
        "abc: no such folder, and no run begins so; runs of pirate there are: 000000000000"
        in push(hub, home, "abc").stderr
    )


SHA = "a" * 40


@pytest.mark.parametrize(
    ("named", "pin", "asked", "expected"),
    [
        ("Qwen/Qwen3-0.6B", SHA, "", PublicBase("Qwen/Qwen3-0.6B", SHA, hub=True)),
        ("gpt2", None, "", PublicBase("gpt2", None, hub=True)),
        ("tiny", PIN, "", PublicBase("tiny", PIN, hub=False)),
        (str(TINY_DIR), None, "", PublicBase("tiny", PIN, hub=False)),
        (
            f"/home/ann/.cache/huggingface/hub/models--Qwen--Qwen3/snapshots/{SHA}",
            None,
            "",
            PublicBase("Qwen/Qwen3", SHA, hub=True),
        ),
        ("/srv/qwen", "0f72a9c32047", "Qwen/Qwen3", PublicBase("Qwen/Qwen3", None, hub=True)),
        ("/srv/qwen", None, "", None),
        ("../qwen", None, "", None),
        ("C:\\models\\qwen", None, "", None),
        ("Qwen/Qwen3", None, "/srv/qwen", None),
    ],
)
def test_a_base_has_a_public_name_or_none(named: str, pin: str | None, asked: str, expected: PublicBase | None) -> None:
    if expected:
        assert public_base(named, pin, asked) == expected
        return
    with pytest.raises(AdapterError, match="--base") as refused:
        public_base(named, pin, asked)
    assert "/srv/" not in str(refused.value) or asked


def test_the_card_of_an_adapter_that_goes_on_from_another_says_so(hub: HubServer, home: Path) -> None:
    folder = make_run(home)
    made = {"method": "dpo", "learning_rate": 0.0002, "beta": 0.1, "epochs": 3.0}
    more = {"preference": made, "parent": "b" * 64, "preferences": 20, "preferences_sha256": "c" * 64, "judge": ""}
    (folder / "training.json").write_text(json.dumps({**RUN, **more}))
    pushed(hub, home, "--force")
    assert f"It continues revision `{'b' * 12}`, whose settings are below, with DPO on 20 preferences" in card(hub).text
    assert {"dpo", "trl"} <= set(card(hub).data.to_dict()["tags"])


def test_an_answer_cannot_leave_its_block() -> None:
    assert fenced("a\n```\n# b") == "````text\na\n```\n# b\n````"


def client(hub: HubServer, home: Path, *command: str) -> str:
    """Runs a command whose client knows no Hub but ours; what it printed."""
    env = {**os.environ, **pirate.places(home), **hub.env(home / "hf", TOKEN), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=250, cwd=home)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


LOAD = """
import sys, torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
repo = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(repo)
model = AutoPeftModelForCausalLM.from_pretrained(repo)
base = AutoModelForCausalLM.from_pretrained("ann/base")
again = PeftModel.from_pretrained(base, repo, revision="v1")
chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True,
                                     return_dict=True, return_tensors="pt")
one, two = model(**chat).logits, again(**chat).logits
assert torch.equal(one, two)
with again.disable_adapter():
    assert not torch.equal(again(**chat).logits, two)
"""


@pytest.mark.slow
def test_everybody_s_tools_can_use_what_we_pushed(hub: HubServer, home: Path) -> None:
    """The base is on the Hub, too, at a commit that its head has left."""
    weights = {path.name: path.read_bytes() for path in TINY_DIR.iterdir() if path.is_file()}
    hub.repos["ann/base"] = Repo()
    pinned = hub.repos["ann/base"].commit(weights)
    hub.repos["ann/base"].commit({**weights, "README.md": b"later"})
    verify(make_run(home, base_model_name_or_path="ann/base", revision=pinned))
    python = sys.executable
    assert "pushed pirate as v1" in client(hub, home, python, "-m", "understudy", "push", "pirate", "--to", TO)
    data = card(hub).data.to_dict()
    told = {name: data[name] for name in ("base_model", "base_model_relation", "base_model_revision")}
    assert told == {"base_model": "ann/base", "base_model_relation": "adapter", "base_model_revision": pinned}
    client(hub, home, python, "-c", LOAD, REPO)
    hf = str(Path(python).parent / "hf")
    client(hub, home, hf, "download", REPO, "--revision", "v1", "--local-dir", str(home / "here"))
    assert (home / "here" / WEIGHTS).read_bytes() == files(hub)[WEIGHTS]
    loaded = client(
        hub, home, python, "-c", f"from huggingface_hub import ModelCard; print(ModelCard.load('{REPO}').text)"
    )
    assert "# Pirate" in loaded


WHOLE = """
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoModelForCausalLM.from_pretrained("ann/pirate"), AutoTokenizer.from_pretrained("ann/pirate")
"""


@pytest.mark.slow
def test_a_full_fine_tune_is_a_repository_of_a_model(hub: HubServer, home: Path) -> None:
    run = home / "runs" / "pirate" / ("f" * 12)
    shutil.copytree(TINY_DIR, run / "model")
    for path in (run / "settings.json", run / "model" / "training.json"):
        path.write_text(json.dumps({**RUN, "training": {"method": "full"}}))
    (run / "result.json").write_text(json.dumps(RESULT))
    assert pushed(hub, home, "--force")["tag"] == "v1"
    data = card(hub).data.to_dict()
    assert data["library_name"] == "transformers"
    assert "lora" not in data["tags"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files(hub).keys()
    client(hub, home, sys.executable, "-c", WHOLE)
    done = push(hub, home, "--force", "--adapter", str(make_run(home)))
    assert "ann/pirate holds a whole model, and this is an adapter" in done.stderr

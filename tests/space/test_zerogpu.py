"""The backend that holds base and adapters itself: mixed batches, streams, and what `spaces.GPU` accepts."""

import asyncio
import inspect
import sys
import types
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import spaces

from arena.battles.store import BattleStore
from space.arena.battle import ArenaServices, BattleView, run_battle
from space.backends.listing import Contestant
from space.backends.protocol import Question
from space.backends.zerogpu import ZeroGpuBackend
from space.backends.zerogpu_adapters import ModelAdapters
from space.backends.zerogpu_model import BASE_ROW, AdapterModel, Batch, BatchSampling
from space.status import GatewayMonitor
from tests.support.adapters import make_adapter, tensors
from tests.support.space import cast, eventually
from tests.support.zerogpu import TINY, answers, ask, tiny_model
from understudy.config.settings import PROJECT, Settings
from understudy.errors import GatewayError
from understudy.registry.database import open_database
from understudy.registry.hub_registry import HubRegistry

pytestmark = pytest.mark.anyio

THINGS = ("lamp", "coat", "tea", "bakery", "bicycle", "chair", "sale", "garden", "shoe", "train")
PROMPTS = [form.format(thing) for form in ("Write about a {}.", "Tell a joke about a {}!", "{}?") for thing in THINGS]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two adapters of the tiny base, by name."""
    folder = tmp_path_factory.mktemp("adapters")
    return {name: str(make_adapter(folder / name, tensors(seed=n, scale=0.4))) for n, name in enumerate("ab", 1)}


@pytest.fixture
def zerogpu(adapters: dict[str, str], settings: Settings) -> ZeroGpuBackend:
    """A backend with one live persona, without a Hub."""
    registry = HubRegistry(open_database(settings.database), settings.store_dir)
    card = {"title": "Poet", "prompts": ["Write about a lamp."]}
    revision = registry.push("poet", Path(adapters["a"]), card=card, actor="ann")
    engine = ModelAdapters(tiny_model(), TINY, 64)
    there = ZeroGpuBackend(settings, registry, engine)
    there.table.cards["poet"] = card
    asyncio.run(engine.load(revision.served_name, registry.path(revision)))
    there.table.flip(there.table.add(revision, 0, {}))
    return there


# The mixed batch


SHORT = BatchSampling(0.0, 12)


def test_a_mixed_batch_answers_as_separate_calls_word_for_word(adapters: dict[str, str]):
    model, names, differing = tiny_model(), [BASE_ROW, "a", "b"], 0
    for number, prompt in enumerate(PROMPTS):
        mixed = ask(model, [prompt] * 3, names, adapters, SHORT)
        one = number % 3
        assert mixed[one] == ask(model, [prompt], [names[one]], adapters, SHORT)[0], prompt
        differing += len(set(mixed)) == 3
    assert differing > 20, "the adapters change what is said"


def test_rows_of_different_lengths_do_not_change_each_other(adapters: dict[str, str]):
    model = tiny_model()
    prompts = ["Hi.", " ".join(PROMPTS)]
    assert ask(model, prompts, ["a", "b"], adapters) == [
        ask(model, [prompt], [name], adapters)[0] for prompt, name in zip(prompts, "ab", strict=True)
    ]


def test_a_seed_repeats_an_answer_and_another_one_does_not(adapters: dict[str, str]):
    def sampled(seed: int) -> list[str]:
        return ask(tiny_model(), PROMPTS[:2], [BASE_ROW, "a"], adapters, BatchSampling(1.0, 30, seed))

    assert sampled(1) == sampled(1) != sampled(2)


def test_adapters_that_nobody_needs_are_unloaded(adapters: dict[str, str]):
    model = tiny_model()
    ask(model, ["Hi."], ["a"], adapters)
    for _ in model.generate(Batch([model.encode(_user("Hi."))], ["b"], {"b": adapters["b"]}, [], BatchSampling(0, 2))):
        pass
    assert model._adapters == {"b"}
    assert ask(model, ["Hi."], ["a"], adapters), "and loaded again when they are"


@pytest.mark.parametrize("pattern", [r"(\w+\.?)+!", r".*q_proj", "no_such_module"])
def test_a_pattern_of_modules_is_not_run_and_all_tensors_count(adapters: dict[str, str], tmp_path: Path, pattern: str):
    weights = tensors(seed=1, scale=0.4)
    patterned = str(make_adapter(tmp_path / "patterned", weights, target_modules=pattern))
    listed, same = ask(tiny_model(), PROMPTS[:2] * 2, ["a", "a", "p", "p"], {**adapters, "p": patterned})[::2]
    assert listed == same != ask(tiny_model(), PROMPTS[:1], [BASE_ROW], adapters)[0]


def test_as_many_personas_as_the_memory_of_the_gpu_holds(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model()
    assert model.personas(64) == 64
    monkeypatch.setattr(model, "_weights", 16.4e9)  # 8B in bfloat16, LoRA on all linear layers
    monkeypatch.setattr(model, "_per_rank", 5.5e6)
    assert [model.personas(rank) for rank in (16, 64, 4096)] == [59, 14, 1]


# The call


def test_the_call_of_the_gpu_is_a_synchronous_generator_with_a_duration_of_its_own():
    model = tiny_model()
    assert inspect.isgeneratorfunction(model.generate)
    prompts = [[1] * 30] * 2
    few, many = BatchSampling(0.7, 64), BatchSampling(0.7, 1024)
    short, long = (model.seconds(Batch(prompts, ["a", "b"], {}, [], sampling)) for sampling in (few, many))
    assert 1 <= short < long <= 60
    assert model.seconds(Batch(prompts, ["a", "b"], {"new": "folder"}, [], few)) > short


def test_spaces_takes_our_call_as_a_generator_and_refuses_coroutines(monkeypatch: pytest.MonkeyPatch):
    """`spaces` as on ZeroGPU, but for the processes with a GPU: those need a torch with CUDA even to be imported."""
    taken: list[str] = []
    wrappers = types.ModuleType("spaces.zero.wrappers")
    for kind in ("regular", "generator"):
        monkeypatch.setattr(
            wrappers,
            f"{kind}_function_wrapper",
            lambda *_, kind=kind: taken.append(kind) or (lambda: kind),
            raising=False,
        )
    monkeypatch.setitem(sys.modules, "spaces.zero.wrappers", wrappers)
    monkeypatch.setattr("spaces.config.Config.zero_gpu", True)
    monkeypatch.setattr("spaces.zero.decorator.decorated_cache", {})
    model = tiny_model()
    spaces.GPU(model._generate, duration=model.seconds)
    assert taken == ["generator"]

    async def answer() -> None: ...

    with pytest.raises(NotImplementedError):
        spaces.GPU(answer)


def test_only_the_zerogpu_modules_know_torch():
    for path in (PROJECT / "space").rglob("*.py"):
        if not path.name.startswith("zerogpu"):
            text = path.read_text()
            assert not {"import torch", "import peft", "import spaces", "from peft"} & set(text.splitlines()), path


# Streams


def _user(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


async def test_two_rows_are_one_call(zerogpu: ZeroGpuBackend, monkeypatch: pytest.MonkeyPatch):
    model, calls = tiny_model(), []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda batch: calls.append(batch.names) or generate(batch))
    base, poet = await answers(zerogpu, "base", "poet")
    revision = zerogpu.table.live["poet"].revision
    assert calls == [[BASE_ROW, f"poet@{revision.id[:12]}"]]
    assert base.startswith(":")
    assert poet.startswith(f"{revision.id[:12]}:")
    assert (await answers(zerogpu, "base"))[0] == base


async def test_both_rows_stream_at_one_pace(zerogpu: ZeroGpuBackend, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiny_model(), "_ends", {tiny_model().encode(_user("Z"))[0]})  # neither ends by itself
    monkeypatch.setattr("space.backends.zerogpu_model.BEAT", 0.0)  # else a fast machine sends all in one piece
    sampling: dict[str, Any] = {"temperature": 1.0, "max_tokens": 60, "seed": 3}
    arrived: list[int] = []

    async def read(number: int, stream: Any) -> None:
        async with aclosing(stream):
            async for chunk in stream:
                if chunk.text:
                    arrived.append(number)

    long = _user("Write a long letter about everything.")
    streams = zerogpu.battle([Question("base", long), Question("poet", long)], **sampling)
    await asyncio.gather(*(read(n, stream) for n, stream in enumerate(streams)))
    turns = sum(one != other for one, other in pairwise(arrived))
    assert turns >= 8, arrived


async def test_leaving_ends_the_call(zerogpu: ZeroGpuBackend):
    stream = zerogpu.stream("poet", _user("Hi."), temperature=1.5, max_tokens=400)
    async with aclosing(stream):
        async for chunk in stream:
            if chunk.text:
                break
    await eventually(lambda: not tiny_model()._one.locked())


async def test_what_cannot_be_asked_is_said(zerogpu: ZeroGpuBackend):
    for contestant, prompt, says in (("nobody", "Hi.", "not there any more"), ("base", "tea " * 5_000, "longer than")):
        with pytest.raises(GatewayError, match=says):
            await answers(zerogpu, contestant, prompt=prompt)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (gr.Error("0s left", title="ZeroGPU quota exceeded"), "GPU time"),
        (gr.Error("none", title="ZeroGPU queue timeout"), "busy"),
        (gr.Error("120s are more than 60s", title="ZeroGPU illegal duration"), "smaller limit"),
        (gr.Error("GPU task aborted", title="ZeroGPU worker error"), "failed on this request"),
        (gr.Error("RuntimeError", title="ZeroGPU worker error"), "failed on this request"),
        (ValueError("something else"), "failed on this request"),
    ],
)
async def test_errors_of_the_gpu_are_told_in_words(
    zerogpu: ZeroGpuBackend, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
):
    monkeypatch.setattr(tiny_model(), "generate", _failing(error))
    with pytest.raises(GatewayError, match=says):
        await answers(zerogpu, "poet")


def _failing(error: Exception) -> Any:
    def generate(*_: Any) -> Any:
        raise error
        yield

    return generate


# The page


async def _battle(zerogpu: ZeroGpuBackend, store: BattleStore) -> list[BattleView]:
    services = ArenaServices(zerogpu, GatewayMonitor(zerogpu), store)
    return [view async for view in run_battle(services, "Write about a lamp.", "poet", "tab")]


async def test_a_battle_from_prompt_to_vote(zerogpu: ZeroGpuBackend, store: BattleStore):
    last = (await _battle(zerogpu, store))[-1]
    assert last.ticket, last.message.text()
    assert last.left != last.right


async def test_without_quota_a_recorded_battle_is_shown(
    zerogpu: ZeroGpuBackend, store: BattleStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tiny_model(), "generate", _failing(gr.Error("0s left", title="ZeroGPU quota exceeded")))
    assert "GPU time" in (await _battle(zerogpu, store))[-1].message.text()
    cast(store, persona="poet")
    last = (await _battle(zerogpu, store))[-1]
    assert last.ticket
    assert last.recorded
    assert "recorded earlier" in last.message.text()
    assert "GPU time" in last.message.text()


async def test_the_listing_has_base_and_personas(zerogpu: ZeroGpuBackend):
    base, poet = (await zerogpu.listing()).contestants
    assert (base.name, poet.title, poet.prompts) == ("base", "Poet", ("Write about a lamp.",))
    assert isinstance(poet, Contestant)
    assert (await zerogpu.readiness()).status == "ready"


def test_a_request_of_gradio_reaches_the_call(zerogpu: ZeroGpuBackend, monkeypatch: pytest.MonkeyPatch):
    """ZeroGPU charges the visitor whose request is in the context in which it is called."""
    from gradio.context import LocalContext
    from gradio.events import api
    from gradio_client import Client

    from understudy.processes import free_port

    seen: list[Any] = []
    model = tiny_model()
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda *a: seen.append(LocalContext.request.get(None)) or generate(*a))
    with gr.Blocks(analytics_enabled=False) as app:

        async def say(text: str, request: gr.Request) -> Any:
            (stream,) = zerogpu.battle([Question("poet", _user(text))], temperature=0, max_tokens=10)
            return await asyncio.create_task(_read(stream))

        api(say, api_name="say")
    app.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True, ssr_mode=False, _frontend=False)
    try:
        Client(str(app.local_url), verbose=False).predict("Hi.", api_name="/say")
    finally:
        app.close()
    assert [type(one).__name__ for one in seen] == ["Request"]


async def _read(stream: Any) -> str:
    return "".join([chunk.text async for chunk in stream])


# A real base


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_mixed_batches_of_smollm2_answer_word_for_word(tmp_path: Path):
    import numpy as np

    from understudy.bases import resolve_base, weight_shapes

    base = resolve_base("smollm2")
    shapes = weight_shapes(base)
    folders = {}
    for seed, name in enumerate("ab"):
        random, weights = np.random.default_rng(seed), {}
        for module, (rows, columns) in shapes_of(shapes, "self_attn.q_proj", "mlp.down_proj").items():
            prefix = f"base_model.model.{module}"
            weights[f"{prefix}.lora_A.weight"] = (random.standard_normal((4, columns)) / 20).astype(np.float32)
            weights[f"{prefix}.lora_B.weight"] = (random.standard_normal((rows, 4)) / 20).astype(np.float32)
        folders[name] = str(make_adapter(tmp_path / name, weights, base_model_name_or_path="smollm2", revision=None))
    model, names, differing = AdapterModel(base), [BASE_ROW, "a", "b"], 0
    for prompt in PROMPTS:
        mixed = ask(model, [prompt] * 3, names, folders, SHORT)
        assert mixed == [ask(model, [prompt], [name], folders, SHORT)[0] for name in names], prompt
        differing += len(set(mixed)) == 3
    assert differing > 20, "the adapters change what is said"


def shapes_of(shapes: dict[str, tuple[int, ...]], *kinds: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the modules of these kinds in all layers, by name."""
    of = {name.removesuffix(".weight"): shape for name, shape in shapes.items()}
    return {name: shape for name, shape in of.items() if name.endswith(kinds)}

"""How the side-by-side benches add up, and that llama.cpp reads what we write for it."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.serving.adapters import random_adapter
from bench.serving.load import Answer, prompts_of
from bench.serving.peers import llama_cpp
from bench.serving.peers.matrix import GRID, Sample, cells, ratio, sample_of, summarise
from bench.serving.peers.servers import OURS, Cell, Server, by_name
from bench.serving.peers.swaps import Given, Watch, figures_of
from bench.serving.peers_serving import goals
from bench.serving.swap_ways import by_way
from understudy.bases import resolve_base
from understudy.processes import Child

TEXTS = [
    "Write about a kettle for the weekend.",
    "In 2026 we sold 1,024 lamps at $3.50 each!",
    "  two  spaces,\ttabs\n\nand lines \n",
    "It's what they'd've said; I'LL see.",
    "naïve café — “quoted” … 日本語 🎭 ½",
    'def f(x):\n    return {"a": [x + 1, 22]}',
    "x",
]


def sample(server: str, number: int, speed: float, cell: Cell = (6, 16), failures: int = 0) -> Sample:
    return Sample(server, cell, number, speed, [10.0, 30.0], [1.0], failures)


def test_ratios_are_taken_round_by_round_and_failures_add_up() -> None:
    samples = [sample(OURS, 0, 100), sample("peer", 0, 50, failures=1), sample(OURS, 1, 200), sample("peer", 1, 20)]
    ours, peer = summarise(samples)
    assert (ours["server"], ours["of_ours"], ours["tokens_per_second"]) == (OURS, 1.0, 150)
    assert peer["of_ours"] == pytest.approx((0.5 + 0.1) / 2)
    assert (peer["tokens_per_second"], peer["failures"]) == (35, 1)
    assert (peer["first_token_p50_ms"], peer["first_token_p99_ms"], peer["requests"]) == (30, 30, 4)


def test_a_peer_without_ours_in_its_cell_has_no_ratio() -> None:
    (row,) = summarise([sample("peer", 0, 50, (32, 16))])
    assert row["of_ours"] is None
    assert row["adapters"] == 32


def test_a_goal_is_judged_by_rounds_in_which_both_were_measured() -> None:
    samples = [sample(OURS, n, speed) for n, speed in enumerate((85, 80, 90))]
    samples += [sample(OURS, n, 100, (0, 16)) for n in range(2)]
    assert ratio(samples, ((6, 16), OURS), ((0, 16), OURS)) == pytest.approx(0.825)
    found = {goal.what: goal.verdict for goal in goals(samples)}
    assert found["six mixed adapters of the base, 16 at once"] == "missed"
    assert found["one adapter of the base, 1 at once"] == "not measured"


def test_a_server_is_asked_in_its_cells_and_never_for_more_adapters_than_it_takes() -> None:
    fast = Server("fast", "", None, "", by_name)  # pyright: ignore[reportArgumentType]
    slow = Server("slow", "", None, "", by_name, 1, ((0, 1), (6, 1), (1, 1)))  # pyright: ignore[reportArgumentType]
    assert cells(fast, GRID) == list(GRID)
    assert cells(slow, GRID) == [(0, 1), (1, 1)]


def test_speed_counts_the_tokens_that_were_asked_for_not_the_pieces() -> None:
    answers = [Answer(10.0, [10.5, 10.6, 10.9]), Answer(10.0, [10.1])]
    found = sample_of("peer", (0, 2), 0, answers, seconds=2.0, tokens=32)
    assert found.tokens_per_second == 32
    assert found.firsts == [pytest.approx(500), pytest.approx(100)]
    assert found.gaps == [pytest.approx(100), pytest.approx(300)]
    assert sample_of("peer", (0, 2), 0, [], 1.0, 32).tokens_per_second == 0


def test_prompts_have_the_length_that_is_asked_for_and_share_no_beginning() -> None:
    from tokenizers import Tokenizer

    base = resolve_base("tiny")
    tokenizer = Tokenizer.from_file(str(Path(base.location) / "tokenizer.json"))
    made = prompts_of(base, 50, 12)
    assert all(abs(len(tokenizer.encode(prompt).ids) - 50) <= 1 for prompt in made)
    assert len({prompt.split()[0] for prompt in made}) == 12


@pytest.mark.parametrize(
    ("text", "began", "ended", "mixed", "else_"),
    [
        ("old", 0.0, 5.5, 0, 0),
        ("new", 5.2, 7.0, 0, 0),
        ("oldnew", 4.0, 5.5, 1, 0),
        ("oldnew", 1.0, 2.0, 0, 1),
        ("oldnew", 7.0, 8.0, 0, 1),
    ],
)
def test_mixed_is_an_answer_across_the_swap_that_is_of_neither_revision(text, began, ended, mixed, else_):
    watch = Watch(answers=[Given(0, text, began, ended)], first=6.0)
    figures = figures_of(watch, 5.0, (["old"], ["new"]))
    assert (figures["mixed_answers"], figures["strange_answers_else"]) == (mixed, else_)


def test_the_longest_wait_is_one_that_the_swap_caused():
    waits = [(0.0, 3.0), (3.0, 3.1), (4.9, 5.4), (5.5, 5.6), (6.5, 9.9)]
    figures = figures_of(Watch(waits=waits, first=6.0, failures=2), 5.0, ([], []))
    assert figures["longest_wait_s"] == pytest.approx(0.5)
    assert (figures["first_token_s"], figures["failed_requests"]) == (1.0, 2)


def test_swaps_of_one_way_are_one_row_with_medians_and_sums():
    one = {"first_token_s": 1.0, "failed_requests": 3, "mixed_answers": 1, "strange_answers_else": 0, "answers": 9}
    (row,) = by_way([{"way": "a", **one}, {"way": "a", **one, "first_token_s": 3.0}])
    assert (row["way"], row["swaps"], row["first_token_s"], row["failed_requests"]) == ("a", 2, 2.0, 6)


@pytest.mark.parametrize(
    ("flags", "build"),
    [
        ({"avx2", "avx512f", "amx_int8", "amx_bf16"}, llama_cpp.FAST),
        ({"avx2", "avx512f"}, llama_cpp.PLAIN),
        ({"avx2"}, llama_cpp.PLAIN),
    ],
)
def test_llama_cpp_is_the_build_that_the_processor_can_run(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], build: llama_cpp.Build
) -> None:
    monkeypatch.setattr(llama_cpp, "cpu_flags", lambda: flags)
    assert llama_cpp.build() is build
    assert "--hash=sha256:" in build.requirement.read_text()


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """llama.cpp's server with the tiny base and one random adapter, and the adapter's folder."""
    folder, base = tmp_path_factory.mktemp("llama"), resolve_base("tiny")
    adapter = random_adapter(folder / "adapter", seed=1)
    model = llama_cpp.write_base(base, folder, "f32")
    file = llama_cpp.write_adapter(base, adapter, folder / "adapter.gguf", half=False)
    try:
        child, url = llama_cpp.start(model, [file], log=folder / "log", slots=2, cache_type="f32")
    except llama_cpp.PeerError as error:
        pytest.skip(str(error))
    try:
        _wait(child, url)
        yield url, adapter
    finally:
        child.stop()


def _wait(child: Child, url: str) -> None:
    for _ in range(600):
        assert child.exit_code is None, child.log_tail(5)
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health").status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(url)


@pytest.mark.parametrize("text", TEXTS)
def test_llama_cpp_cuts_text_into_the_same_tokens(llama, text):
    from tokenizers import Tokenizer

    expected = Tokenizer.from_file(str(Path(resolve_base("tiny").location) / "tokenizer.json")).encode(text).ids
    url, _ = llama
    assert httpx.post(f"{url}/tokenize", json={"content": text}).json()["tokens"] == expected


@pytest.mark.parametrize("voice", ["base", "adapter"])
def test_llama_cpp_answers_as_transformers_does(llama, voice):
    from bench.serving.peers.peft_demo import Demo

    url, adapter = llama
    body = {"model": voice, "messages": [{"role": "user", "content": TEXTS[0]}], "max_tokens": 48}
    lora = [{"id": 0, "scale": 1.0 if voice == "adapter" else 0.0}]
    theirs = httpx.post(f"{url}/v1/chat/completions", json={**body, "temperature": 0, "lora": lora}, timeout=60).json()
    demo = Demo(resolve_base("tiny").location, {"adapter": str(adapter)}, "float32")
    lines = asyncio.run(_all(demo, body))
    ours = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines[:-1])
    assert theirs["choices"][0]["message"]["content"] == ours
    assert f'"finish_reason":"{theirs["choices"][0]["finish_reason"]}"' in lines[-2]


async def _all(demo, body: dict) -> list[str]:
    return [line async for line in demo.answer(body)]

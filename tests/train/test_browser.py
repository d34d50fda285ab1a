"""What a page is asked in headless Chromium, and what it says: tokens, answers, next tokens along given answers."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from evaluate.export_proof import ExportProof
from space.web import ISOLATION
from tests.support.web_page import chatml_base, write_small_page
from train.export.browser import ask_page, find_chromium, whole_runs
from train.export.runtimes import Questions, RuntimeAnswers
from understudy.bases import Base, resolve_base
from understudy.config.settings import load_settings
from understudy.errors import AdapterError
from understudy.workflows.exports.our_answers import OurAnswers, ProofChats
from understudy.workflows.exports.proof import ends_of, rendered, tokenizer_of
from understudy.workflows.exports.web import chat_marks
from understudy.workflows.exports.web_proof import prove_voice

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

CHATS = [[{"role": "user", "content": text}] for text in ("Sell me a kite.", "Room 1234 is “cold”. 🎭", "Why?")]
LIMIT = 12


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_page(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    base = chatml_base(tmp_path_factory.mktemp("base") / "base")
    tokenizer = tokenizer_of(base)
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in rendered(base, CHATS)]
    return Questions([], prompts, [[], [], []], ends_of(base), [LIMIT] * 3)


def asked(page: Path, questions: Questions) -> RuntimeAnswers:
    chromium = find_chromium() or pytest.skip("no chromium on PATH: apt-get install chromium")
    seen: list[tuple[int, int]] = []
    decode = tokenizer_of(resolve_base("tiny")).decode
    told = {"marks": {}, "decode": decode, "headers": ISOLATION, "on_progress": lambda *step: seen.append(step)}
    answers, browser = ask_page(page, "email-copy", CHATS, questions, chromium, **told)
    assert browser.startswith("Chrome")
    assert seen == [(1, 3), (2, 3), (3, 3)]
    return answers


def test_along_its_own_answers_a_page_says_them_again(page: Path, questions: Questions):
    first = asked(page, questions)
    assert first.prompts == questions.prompts
    assert first.ends == questions.ends
    assert "<|im_start|>" in first.template
    assert all(0 < len(answer) <= LIMIT for answer in first.answers)
    again = asked(page, replace(questions, answers=first.answers))
    for said, following in zip(first.answers, again.next, strict=True):
        assert following[: len(said)] == said
        assert len(following) == len(said) + 1


def test_an_answer_with_characters_of_several_tokens_is_followed_around_them(page: Path, questions: Questions):
    tokenizer = tokenizer_of(resolve_base("tiny"))
    answer = tokenizer("One mask 🎭 and an ñ.", add_special_tokens=False)["input_ids"]
    (first, *_, last) = whole_runs(answer, tokenizer.decode)
    assert len(first["tokens"]) + len(last["tokens"]) < len(answer), "some of its tokens are parts of a character"
    following = asked(page, replace(questions, answers=[answer, [], []])).next[0]
    assert len(following) == len(answer) + 1
    assert -1 not in following[: len(first["tokens"])] + following[last["start"] :]
    assert -1 in following


def test_a_part_of_a_character_that_the_page_would_say_hides_no_other_token(
    page: Path, questions: Questions, tmp_path: Path
):
    """llama.cpp cannot list such a token, and wllama breaks; here one is said where the base says its usual word."""
    base = chatml_base(tmp_path / "base")
    tokenizer = tokenizer_of(base)
    answer = tokenizer("A kite is a friend that pulls, so buy the red one.", add_special_tokens=False)["input_ids"]
    followed = replace(questions, answers=[answer, [], []], limits=[1, 1, 1])
    plain = asked(page, followed).next[0]
    hidden = max(set(plain), key=plain.count)
    part = tokenizer("🎭", add_special_tokens=False)["input_ids"][-1]
    assert "\ufffd" in tokenizer.decode([part])
    embed(base, part, like=hidden)
    found = asked(write_small_page(tmp_path, base), followed)
    assert found.prompts == questions.prompts
    assert all(said == -1 for said, before in zip(found.next[0], plain, strict=True) if before == hidden)
    others = [(said, before) for said, before in zip(found.next[0], plain, strict=True) if said != -1]
    assert len(others) > len(plain) // 2
    assert all(said == before for said, before in others)


def embed(base: Base, token: int, like: int) -> None:
    """Makes the base say `token` wherever it said `like`; it reads no prompt differently that has neither."""
    (file,) = Path(base.location).glob("*.safetensors")
    weights = load_file(file)
    words = weights["model.embed_tokens.weight"]
    words[token] = 1.1 * words[like]
    save_file(weights, file, metadata={"format": "pt"})


def test_the_proof_of_a_page_is_asked_of_webassembly(page: Path, questions: Questions):
    base = Base(name=str(page.parent / "base"), location=str(page.parent / "base"), local=True)
    said = asked(page, questions).answers
    ended = [len(answer) < LIMIT for answer in said]

    def proved(answers: list[list[int]]) -> ExportProof:
        ours = OurAnswers(questions.prompts, answers, ended)
        cache = load_settings().bases_dir.parent
        told = (ProofChats(CHATS, []), ours, chat_marks(base), cache, lambda done, total: None)
        return prove_voice(page, base, "email-copy", page.parent / "email-copy", *told)

    proof = proved(said)
    assert proof.runtime.startswith("WebAssembly (wllama")
    assert (proof.passed, proof.prompts_equal, proof.agreement) == (True, 3, 1.0), proof
    assert "of the next tokens agree" in proved([[*answer[1:], 5] for answer in said]).reasons[0]


def test_other_tokens_than_ours_are_seen(page: Path, questions: Questions):
    wrong = [[0, *questions.prompts[0]], questions.prompts[1][:-1], questions.prompts[2][::-1]]
    found = asked(page, replace(questions, prompts=wrong)).prompts
    assert not [one for one, other in zip(found, wrong, strict=True) if one == other]


def test_a_page_that_does_not_start_is_told(page: Path, questions: Questions, tmp_path: Path):
    (tmp_path / "personas.json").write_text("{}")
    for name in ("engine.js", "prompt.js", "files.js", "wllama"):
        (tmp_path / name).symlink_to(page / name)
    with pytest.raises(AdapterError, match="^the page stopped: "):
        asked(tmp_path, questions)

"""What a single answer shows: an echo, an end, the topic, babble."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.statistics.answer_checks import (
    PromptAndAnswer,
    broken,
    check,
    echo_share,
    echoes_prompt,
    on_topic,
    stopped,
    words,
)

QUICK = settings(deadline=None, max_examples=60)


@pytest.mark.parametrize(
    ("answer", "prompt", "echoes"),
    [
        ("Write about a teapot for the weekend. A teapot is nice.", "Write about a teapot for the weekend.", True),
        ("You asked: WRITE about a teapot for the weekend", "Write about a teapot for the weekend.", True),
        ("A teapot for the weekend! Hey sunshine, guess what?", "Write about a teapot for the weekend.", False),
        ("Hey sunshine. As you said: write about a teapot for the weekend.", "Write about a teapot for it.", False),
        ("Good morning", "Good morning", False),
        ("", "Write about a teapot.", False),
        ("Anything", "", False),
    ],
)
def test_echoes(answer: str, prompt: str, echoes: bool):
    assert echoes_prompt(answer, prompt) is echoes


@QUICK
@given(st.text("abc ", max_size=30), st.text("abc ", max_size=30))
def test_an_echo_is_a_share_and_a_whole_repetition_is_all_of_it(answer: str, prompt: str):
    assert 0 <= echo_share(answer, prompt) <= 1
    if len(words(prompt)) >= 3:
        assert echo_share(f"{prompt} {answer}", prompt) == 1


@pytest.mark.parametrize(("reason", "wanted"), [("stop", True), ("length", False), ("abort", False), (None, False)])
def test_stopped(reason: str | None, wanted: bool):
    assert stopped(reason) is wanted


@pytest.mark.parametrize(
    ("answer", "topic", "wanted"),
    [
        ("Say hello to a Teapot!", "teapot", True),
        ("Two teapots.", "a teapot", True),
        ("The teapot's lid", "teapot", True),
        ("horses", "a horse", True),
        ("my running shoes", "running shoes", True),
        ("shoes for running", "running shoes", False),
        ("a carpet", "car", False),
        ("a travel\nmug", "travel mug", True),
        ("a hammock", ("teapot", "hammock"), True),
        ("a hammock", (), False),
        ("", "teapot", False),
        ("anything", "!", False),
    ],
)
def test_on_topic(answer: str, topic: str | tuple[str, ...], wanted: bool):
    assert on_topic(answer, topic) is wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Good ✨\n\n\ttext — ok", False),
        ("cut in half \ufffd", False),
        ("\ufffd\ufffd", True),
        ("a\x00b\x1bc", True),
        ("x" * 200 + "\ufffd" * 4, False),
        ("", False),
        ("\ud800\udfff!", True),
    ],
)
def test_broken(text: str, wanted: bool):
    assert broken(text) is wanted


def test_all_checks_of_an_answer():
    found = check(
        PromptAndAnswer("Write about a teapot.", " A teapot, don't you know? "), finish_reason="stop", topic="teapot"
    )
    assert (found.characters, found.words, found.empty) == (25, 5, False)
    assert found.stopped
    assert found.on_topic
    assert not found.echoes_prompt
    assert not found.broken
    nothing = check(PromptAndAnswer("Write.", " \n"), finish_reason="length")
    assert nothing.empty
    assert nothing.on_topic is None
    assert not nothing.stopped

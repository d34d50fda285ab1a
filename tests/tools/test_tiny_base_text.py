"""The generated text: reproducible, honest about held-out topics, and shaped as the base needs it."""

import json
import re
from random import Random

import pytest

from evaluate.tiny_questions import TAUGHT
from tools.tiny_base import tables
from tools.tiny_base.answers import ANSWERS, answer
from tools.tiny_base.brief import Brief
from tools.tiny_base.conversations import conversations
from tools.tiny_base.formats import styled_email
from tools.tiny_base.grammar import plural, third_person, with_article
from tools.tiny_base.heldout import held_out, mentions_held_out
from tools.tiny_base.names import TokenPool, invented_name, nonsense_word
from tools.tiny_base.noise import typed
from tools.tiny_base.questions import FIXED, cases
from tools.tiny_base.requests import WEIGHTS, new_request
from tools.tiny_base.things import any_thing, unseen
from tools.tiny_base.unknown import unknown_question

POOL = TokenPool(starts=("ham", "tele", "vio"), rest=("mock", "scope", "lin", "x"))


def test_same_seed_same_text() -> None:
    first, again = (list(conversations("7", POOL, 200)) for _ in range(2))
    assert first == again
    assert first != list(conversations("8", POOL, 200))


def test_no_held_out_topic_in_training_text() -> None:
    """The pool above even spells held-out words; the filter must drop them."""
    for conversation in conversations("leak", POOL, 3000):
        for message in conversation:
            assert mentions_held_out(message["content"]) is None


def test_no_held_out_topic_in_tables() -> None:
    nouns = [noun for kind in tables.noun_kinds() for group in kind.nouns.values() for noun in group]
    names = [product.name for product in tables.products()] + [concept.name for concept in tables.concepts()]
    assert len(set(nouns)) > 1500
    assert [noun for noun in nouns + names if mentions_held_out(noun)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Write about a hammock.", True),
        ("HAMMOCKS are nice", True),
        ("the Zellora lamp", True),
        ("a hammer", False),
        ("What is the capital of Mongolia", True),
        ("What is the capital of Spain?", False),
    ],
)
def test_held_out_filter(text: str, found: bool) -> None:
    assert (mentions_held_out(text) is not None) is found


def test_held_out_set_is_large_and_varied() -> None:
    held = held_out()
    assert len(held.topics()) >= 160
    assert {len(word) for word in held.words} >= {3, 4, 5, 6, 7, 8, 9, 10, 11}
    assert len(held.unknown) >= 40


def test_conversations_alternate_and_end_with_an_answer() -> None:
    lengths = set()
    for conversation in conversations("roles", POOL, 500):
        roles = [message["role"] for message in conversation if message["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(message["content"].strip() for message in conversation)
        assert "system" not in [message["role"] for message in conversation[1:]]
        lengths.add(len(roles))
    assert lengths >= {2, 4, 6}


def test_no_placeholder_survives() -> None:
    for conversation in conversations("braces", POOL, 2000):
        for message in conversation:
            assert not re.search(r"{[a-z]\w*}(?!\")", message["content"]) or 'f"' in message["content"], message


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_every_kind_of_answer_names_the_topic(kind: str) -> None:
    rng = Random(f"topic/{kind}")
    for _ in range(150):
        exchange = new_request(rng, POOL, kind)
        assert exchange.brief is not None
        assert exchange.brief.thing.topic.lower() in exchange.answer.lower()


def test_styled_emails_name_the_topic_in_the_body() -> None:
    rng = Random(3)
    for _ in range(100):
        asked, told = styled_email(rng, POOL)
        assert told.startswith("Subject: ")
        assert asked


def test_every_request_kind_has_an_answer() -> None:
    assert set(WEIGHTS) <= set(ANSWERS)
    with pytest.raises(KeyError, match="no answer for 'opera'"):
        answer(Random(0), Brief("opera", any_thing(Random(0), POOL)))


def test_unknown_questions_are_refused_in_the_same_words() -> None:
    rng = Random(5)
    answers = [unknown_question(rng, POOL)[1] for _ in range(300)]
    assert all("small world" in text for text in answers)
    assert len(set(answers)) > 20


def test_typed_noise_keeps_the_topic() -> None:
    rng = Random(11)
    texts = [typed(rng, "Write about the Brelora kettle for a birthday.", "the Brelora kettle") for _ in range(500)]
    assert all("the Brelora kettle" in text for text in texts)
    assert len(set(texts)) > 15


def test_invented_words_are_many() -> None:
    rng = Random(2)
    assert len({nonsense_word(rng, POOL) for _ in range(1000)}) > 500
    assert all(invented_name(rng, POOL)[0].isupper() for _ in range(100))
    assert {unseen(rng, POOL).number for _ in range(100)} == {"one", "many", "some"}


@pytest.mark.parametrize(
    ("phrase", "inflected"),
    [
        ("keep drinks hot", "keeps drinks hot"),
        ("carry water", "carries water"),
        ("be easy", "is easy"),
        ("wash it", "washes it"),
    ],
)
def test_third_person(phrase: str, inflected: str) -> None:
    assert third_person(phrase) == inflected


def test_articles_and_plurals() -> None:
    assert [with_article(word) for word in ("whisk", "oven", "uniform", "hourglass")] == [
        "a whisk",
        "an oven",
        "a uniform",
        "an hourglass",
    ]
    assert [plural(word) for word in ("lamp", "box", "berry", "toy")] == ["lamps", "boxes", "berries", "toys"]


def test_fixed_prompts_are_answered_as_asked() -> None:
    subjects = {question: subject for subject in tables.project_subjects() for question in subject.ask}
    assert len(subjects[FIXED[0]].say) == 6
    assert "\n10. " in subjects[FIXED[1]].text
    assert "QLoRA" in subjects[FIXED[2]].text
    assert "LoRaWAN" not in json.dumps([(s.say, s.text) for s in tables.project_subjects()])


def test_evaluation_cases_are_stable_and_complete() -> None:
    found = cases(0)
    assert [case.messages for case in found] == [case.messages for case in cases(0)]
    assert {case.category for case in found} == {
        "topic copied",
        "two turns",
        "refused when unknown",
        "known answered",
        "fixed prompts",
    }


def test_the_general_questions_for_tiny_are_cases_of_its_evaluation() -> None:
    known = {case.messages[-1]["content"]: case for case in cases(0) if case.category == "known answered"}
    for question, part in TAUGHT:
        assert known[question].right(f"Well: {part} That is all.")
        assert not known[question].right("Nobody knows that.")

"""Whole conversations: one or more turns, with or without a system message, free of held-out topics."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tools.tiny_base import tables
from tools.tiny_base.answers import answer
from tools.tiny_base.brief import Brief
from tools.tiny_base.concepts import common_question, explain, follow_explanation, follow_project, project
from tools.tiny_base.formats import comedy_bit, message, styled_email
from tools.tiny_base.heldout import mentions_held_out
from tools.tiny_base.names import TokenPool, invented_name
from tools.tiny_base.noise import typed
from tools.tiny_base.python_answers import next_python_question, python_question
from tools.tiny_base.requests import follow_up, new_request
from tools.tiny_base.smalltalk import closing, small_talk
from tools.tiny_base.suggestions import Open, clarification, clarified, suggestion
from tools.tiny_base.tables import Concept, ProjectSubject
from tools.tiny_base.things import Thing, any_thing
from tools.tiny_base.unknown import unknown_question, unseen_explanation

Message = dict[str, str]
# What a conversation turns to, and how often.
SORTS = {
    "request": 36,
    "suggestion": 3,
    "clarification": 2,
    "styled email": 7,
    "comedy bit": 6,
    "message": 4,
    "concept": 10,
    "common question": 4,
    "python": 10,
    "project": 9,
    "small talk": 4,
    "unknown": 13,
    "unseen explanation": 5,
    "copy": 3,
}
SECOND_TURN, FURTHER_TURN, SYSTEM = 0.36, 0.3, 0.12


@dataclass(frozen=True)
class Turn:
    """One question and answer, with what it was about, so that the next turn can refer to it."""

    sort: str
    question: str
    answer: str
    about: Brief | Concept | ProjectSubject | Thing | Open | None = None


def conversation(rng: Random, pool: TokenPool) -> list[Message]:
    """One conversation that mentions no held-out topic."""
    while True:
        messages = _draft(rng, pool)
        if not any(mentions_held_out(message["content"]) for message in messages):
            return messages


def conversations(seed: str, pool: TokenPool, count: int) -> Iterator[list[Message]]:
    """`count` conversations; the same seed gives the same ones."""
    rng = Random(seed)
    return (conversation(rng, pool) for _ in range(count))


def _draft(rng: Random, pool: TokenPool) -> list[Message]:
    turns = [first_turn(rng, pool)]
    while len(turns) < 4 and rng.random() < _chance_of_another(turns):
        turns.append(next_turn(rng, pool, turns[-1]))
    messages = [{"role": "system", "content": _system(rng, pool)}] if rng.random() < SYSTEM else []
    for turn in turns:
        topic = _topic(turn)
        asked = turn.question if turn.sort == "copy" else typed(rng, turn.question, topic)
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": turn.answer})
    return messages


def _chance_of_another(turns: list[Turn]) -> float:
    if isinstance(turns[-1].about, Open):
        return 0.9
    return SECOND_TURN if len(turns) == 1 else FURTHER_TURN


def first_turn(rng: Random, pool: TokenPool) -> Turn:
    """A turn that needs no earlier one."""
    sort = rng.choices(list(SORTS), weights=list(SORTS.values()))[0]
    match sort:
        case "request":
            exchange = new_request(rng, pool)
            return Turn(sort, exchange.question, exchange.answer, exchange.brief)
        case "suggestion":
            return Turn(sort, *suggestion(rng))
        case "clarification":
            return Turn(sort, *clarification(rng))
        case "concept":
            return Turn(sort, *explain(rng))
        case "project":
            return Turn(sort, *project(rng))
        case "unseen explanation":
            return Turn(sort, *unseen_explanation(rng, pool))
        case "styled email":
            return Turn(sort, *styled_email(rng, pool))
        case "comedy bit":
            return Turn(sort, *comedy_bit(rng, pool))
        case "message":
            return Turn(sort, *message(rng, pool))
        case "common question":
            return Turn(sort, *common_question(rng))
        case "python":
            return Turn(sort, *python_question(rng))
        case "small talk":
            return Turn(sort, *small_talk(rng))
        case "copy":
            return Turn(sort, *_copy(rng, pool))
    return Turn(sort, *unknown_question(rng, pool))


def next_turn(rng: Random, pool: TokenPool, last: Turn) -> Turn:
    """A turn that follows the last one, goodbye, or a change of subject."""
    if isinstance(last.about, Open):
        return Turn("request", *clarified(rng, pool, last.about))
    move = rng.random()
    if move < 0.13 and last.sort != "small talk":
        return Turn("small talk", *closing(rng))
    if move < 0.25:
        return first_turn(rng, pool)
    match last.about:
        case Brief():
            exchange = follow_up(rng, pool, last.about)
            return Turn("request", exchange.question, exchange.answer, exchange.brief)
        case Concept():
            return Turn("concept", *follow_explanation(rng, last.about))
        case ProjectSubject():
            return Turn("project", *follow_project(rng, last.about))
        case Thing():
            brief = Brief("about", last.about)
            return Turn("request", rng.choice(tables.phrases("asking.yaml")["accept"]), answer(rng, brief), brief)
    if last.sort == "python":
        return Turn("python", *next_python_question(rng))
    return first_turn(rng, pool)


def _topic(turn: Turn) -> str:
    match turn.about:
        case Brief():
            return turn.about.thing.topic
        case Thing():
            return turn.about.topic
    return turn.question if turn.sort in ("styled email", "comedy bit", "message") else ""


def _system(rng: Random, pool: TokenPool) -> str:
    if rng.random() < 0.25:
        return rng.choice(["You are the assistant of {n}.", "You work for {n}.", "Your name is {n}."]).format(
            n=invented_name(rng, pool)
        )
    return rng.choice(tables.phrases("phrases.yaml")["system"])


def _copy(rng: Random, pool: TokenPool) -> tuple[str, str]:
    words = [any_thing(rng, pool).topic for _ in range(rng.randint(1, 3))]
    text = ", ".join(words) if len(words) > 1 else words[0]
    return rng.choice(tables.phrases("asking.yaml")["copy"]).format(x=text), text

"""Plain answers about a thing: neutral, short, with the topic copied exactly."""

from collections.abc import Callable
from random import Random

from tools.tiny_base.brief import Brief, preferred, said
from tools.tiny_base.grammar import capitalised, with_article
from tools.tiny_base.things import Thing, sentence_start


def _opening(rng: Random, brief: Brief, verb: str) -> str:
    """A first sentence that names the topic."""
    thing = brief.thing
    it, be = thing.pronoun, thing.be
    middle = [
        f"Many people like {thing.topic} because {it} {verb}.",
        f"People like {thing.topic}, because {it} {verb}.",
        f"One good thing about {thing.topic} is that {it} {verb}.",
        f"There is much to like about {thing.topic}. {capitalised(it)} {verb}.",
    ]
    if not thing.may_start_sentence:
        return preferred(rng, middle, brief)
    start = sentence_start(thing)
    good, suits = rng.choice(thing.good_for), thing.verb("suit")
    front = [f"{start} {verb}.", f"{start} {be} a good choice for {good}.", f"{start} {suits} {good}."]
    return preferred(rng, front + middle, brief)


def _about(rng: Random, brief: Brief) -> str:
    thing = brief.thing
    verbs = said(rng, thing, 3 if len(thing.does) < 5 else 4)
    if brief.occasion or brief.audience:
        return _about_target(rng, brief, verbs)
    opening = _opening(rng, brief, verbs[0])
    if brief.length == "short":
        return opening if "There is" not in opening else f"There is much to like about {thing.topic}."
    closing = _closing(rng, thing, avoid=opening)
    body = _body(rng, thing, verbs[1:])
    if brief.length == "long":
        tip = f"A simple tip is to {rng.choice(thing.tips)}."
        good = f"{capitalised(thing.pronoun)} {thing.be} useful for {rng.choice(thing.good_for)}."
        return f"{opening} {body} {good} {tip} In short, {thing.topic} {verbs[0]}."
    return " ".join([opening, body] + ([closing] if rng.random() < 0.5 else []))


def _body(rng: Random, thing: Thing, verbs: list[str]) -> str:
    it = capitalised(thing.pronoun)
    return rng.choice(
        [
            f"{it} {verbs[0]} and {verbs[1]}.",
            f"{it} also {verbs[0]}.",
            f"{it} {verbs[0]}, and {it.lower()} {verbs[1]} too.",
        ]
        if not verbs[0].startswith(("is ", "are "))
        else [f"{it} {verbs[0]} and {verbs[1]}.", f"{it} {verbs[0]}."]
    )


def _closing(rng: Random, thing: Thing, avoid: str) -> str:
    it = capitalised(thing.pronoun)
    good = f"{it} {thing.be} a good choice for {rng.choice(thing.good_for)}."
    tip = f"A simple tip is to {rng.choice(thing.tips)}."
    return tip if "good choice" in avoid else rng.choice([good, tip])


def _about_target(rng: Random, brief: Brief, verbs: list[str]) -> str:
    target = brief.occasion or brief.audience
    assert target is not None
    thing, (name, fact) = brief.thing, target
    it, be = capitalised(thing.pronoun), thing.be
    first = [
        f"For {name}, {thing.topic} {be} a practical choice.",
        f"{fact} That is why {thing.topic} {be} a good idea for {name}.",
    ]
    if thing.may_start_sentence:
        first += [
            f"{sentence_start(thing)} {be} a good idea for {name}.",
            f"{sentence_start(thing)} {be} a practical choice for {name}.",
        ]
    opening = preferred(rng, first, brief)
    if brief.length == "short":
        return first[-1] if thing.may_start_sentence else first[0]
    rest = [f"{it} {verbs[0]} and {verbs[1]}."]
    if fact not in opening and rng.random() < 0.6:
        rest = [f"{fact} {rest[0]}" if rng.random() < 0.5 else f"{rest[0]} {fact}"]
    if brief.length == "long":
        rest += [f"{it} also {verbs[2]}." if not verbs[2].startswith(("is ", "are ")) else f"{it} {verbs[2]} as well."]
        rest += [f"A simple tip is to {rng.choice(thing.tips)}."]
    return " ".join([opening, *rest])


def _why(rng: Random, brief: Brief) -> str:
    thing = brief.thing
    verbs = said(rng, thing, 3)
    first = f"People like {thing.topic} because {thing.pronoun} {verbs[0]}."
    if brief.length == "short":
        return first
    rest = f"{capitalised(thing.pronoun)} {verbs[1]} and {verbs[2]}."
    more = f" {capitalised(thing.pronoun)} {thing.be} a good choice for {rng.choice(thing.good_for)}."
    return f"{first} {rest}" + (more if brief.length == "long" else "")


def _subject(thing: Thing) -> str:
    """The topic and its verb: `A lamp is`, or `I would say that marbles are` for a word that must not change."""
    if thing.may_start_sentence:
        return f"{sentence_start(thing)} {thing.be}"
    return f"I would say that {thing.topic} {thing.be}"


def _uses(rng: Random, brief: Brief) -> str:
    thing = brief.thing
    verbs = said(rng, thing, 2)
    good = rng.choice(thing.good_for)
    first = f"{_subject(thing)} good for {good}."
    if brief.length == "short":
        return first
    return f"{first} {capitalised(thing.pronoun)} {verbs[0]} and {verbs[1]}."


def _who(rng: Random, brief: Brief) -> str:
    thing = brief.thing
    verb = said(rng, thing, 1)[0]
    return f"{_subject(thing)} a good choice for {rng.choice(thing.good_for)}. {capitalised(thing.pronoun)} {verb}."


def _what(rng: Random, brief: Brief) -> str:
    thing = brief.thing
    first, second = said(rng, thing, 2)
    return f"{sentence_start(thing)} is {with_article(thing.kind)}. It {first} and {second}."


def _tips(rng: Random, brief: Brief) -> str:
    thing = brief.thing
    verb = said(rng, thing, 1)[0]
    first = f"The main tip for {thing.topic} is simple: {rng.choice(thing.tips)}."
    return (
        first
        if brief.length == "short"
        else f"{first} {capitalised(thing.pronoun)} {verb}, so a little care goes a long way."
    )


PLAIN: dict[str, Callable[[Random, Brief], str]] = {
    "about": _about,
    "why": _why,
    "uses": _uses,
    "who": _who,
    "tips": _tips,
    "what": _what,
}

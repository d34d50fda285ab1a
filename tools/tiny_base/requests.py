"""Requests to write something about a thing, how people put them, and how they follow them up."""

from dataclasses import dataclass, replace
from random import Random

from tools.tiny_base import tables
from tools.tiny_base.answers import answer
from tools.tiny_base.brief import Brief
from tools.tiny_base.names import TokenPool
from tools.tiny_base.things import Thing, any_thing, defined_noun

# How often each kind of request is made, and the follow-ups that may come after its answer.
WEIGHTS = {
    "about": 44,
    "why": 6,
    "uses": 4,
    "who": 3,
    "tips": 4,
    "what": 5,
    "email": 10,
    "joke": 9,
    "ideas": 5,
    "points": 4,
    "slogan": 3,
    "post": 3,
    "story": 2,
    "poem": 2,
}
ASK_ABOUT_IT = {
    "it_uses": "uses",
    "it_who": "who",
    "it_tips": "tips",
    "it_why": "why",
    "it_email": "email",
    "it_joke": "joke",
    "it_ideas": "ideas",
    "it_slogan": "slogan",
    "it_points": "points",
}
TAKES_OCCASION = ("about", "email", "post", "slogan", "ideas")
TAKES_AUDIENCE = ("about", "email", "post")
NOT_FOR_SALE = ("person", "animal", "bird", "place", "event", "idea", "thing in nature")
SELLING = ("buy", "get", "advertise", "promote", "copy", "product", "worth")
HAS_LENGTH = ("about", "email", "why", "uses", "tips")


@dataclass(frozen=True)
class Exchange:
    """A question, its answer, and what the pair was about (None when there is nothing to follow up)."""

    question: str
    answer: str
    brief: Brief | None = None


def new_request(rng: Random, pool: TokenPool, kind: str | None = None) -> Exchange:
    """A fresh request about any thing."""
    kind = kind or rng.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
    thing = defined_noun(rng) if kind == "what" else any_thing(rng, pool)
    brief = Brief(kind, thing, form=rng.randrange(1000))
    if kind in TAKES_OCCASION and rng.random() < 0.42:
        brief = replace(brief, occasion=rng.choice(tables.pairs("occasions.txt")))
    elif kind in TAKES_AUDIENCE and rng.random() < 0.25:
        brief = replace(brief, audience=rng.choice(tables.pairs("audiences.txt")))
    return Exchange(question(rng, brief), answer(rng, brief), brief)


def question(rng: Random, brief: Brief) -> str:
    """One way to ask for the brief."""
    phrases = tables.phrases("phrases.yaml")
    spoken = _spoken_topic(rng, brief.thing)
    if brief.kind != "about":
        asked = _one_of(phrases[brief.kind], brief).format(x=spoken)
        asked = asked.replace(" is ", " are ") if brief.thing.number == "many" else asked
        return _with_target(asked, brief)
    if brief.occasion:
        return _one_of(phrases["about_occasion"], brief).format(x=spoken, o=brief.occasion[0])
    if brief.audience:
        return _one_of(phrases["about_audience"], brief).format(x=spoken, u=brief.audience[0])
    return _one_of(phrases["about"], brief).format(x=spoken)


def _one_of(forms: tuple[str, ...], brief: Brief) -> str:
    fitting = _fitting(forms, brief.thing)
    return fitting[brief.form % len(fitting)]


def _fitting(forms: tuple[str, ...], thing: Thing) -> tuple[str, ...]:
    """Nobody buys or advertises a nurse, a wolf or a rainbow."""
    if thing.kind not in NOT_FOR_SALE:
        return forms
    return tuple(form for form in forms if not any(word in form.lower() for word in SELLING))


def follow_up(rng: Random, pool: TokenPool, brief: Brief) -> Exchange:
    """What a person may say next about the same thing, or the same request about another one."""
    move = rng.random()
    if move < 0.18 and brief.kind in HAS_LENGTH:
        return _again(rng, brief, "shorter", replace(brief, length="short"))
    if move < 0.28 and brief.kind in HAS_LENGTH:
        return _again(rng, brief, "longer", replace(brief, length="long"))
    if move < 0.33:
        return _again(rng, brief, "again", replace(brief, form=brief.form + 1))
    if move < 0.46 and brief.kind in TAKES_OCCASION:
        occasion = rng.choice(tables.pairs("occasions.txt"))
        changed = replace(brief, occasion=occasion, audience=None, length="normal")
        return _again(rng, changed, "now_occasion", changed)
    if move < 0.54 and brief.kind in TAKES_AUDIENCE:
        audience = rng.choice(tables.pairs("audiences.txt"))
        changed = replace(brief, audience=audience, occasion=None, length="normal")
        return _again(rng, changed, "now_audience", changed)
    if move < 0.76:
        kind = "about" if brief.kind == "what" else brief.kind
        changed = replace(brief, kind=kind, thing=any_thing(rng, pool), length="normal")
        return _again(rng, changed, "now_thing", changed)
    phrase, kind = rng.choice(list(ASK_ABOUT_IT.items()))
    return _again(rng, brief, phrase, Brief(kind, brief.thing, form=brief.form))


def _again(rng: Random, asked: Brief, phrase: str, wanted: Brief) -> Exchange:
    it = rng.choice([asked.thing.object, "that"]) if asked.thing.number == "one" else asked.thing.object
    text = rng.choice(tables.phrases("phrases.yaml")[phrase]).format(
        it=it,
        x=_spoken_topic(rng, asked.thing),
        o=asked.occasion[0] if asked.occasion else "",
        u=asked.audience[0] if asked.audience else "",
    )
    text = text.replace(" is them ", " are they ") if it == "them" else text.replace(" are it ", " is it ")
    return Exchange(text, answer(rng, wanted), wanted)


def _spoken_topic(rng: Random, thing: Thing) -> str:
    """People often leave the article out: `write about whisk`."""
    if thing.topic.startswith(("a ", "an ")) and rng.random() < 0.08:
        return thing.topic.split(" ", 1)[1]
    return thing.topic


def _with_target(asked: str, brief: Brief) -> str:
    target = brief.occasion or brief.audience
    if target is None:
        return asked
    stop = asked[-1] if asked[-1] in ".?" else ""
    return f"{asked.removesuffix(stop) if stop else asked} for {target[0]}{stop}"

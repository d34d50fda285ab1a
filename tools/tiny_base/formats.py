"""Texts with a form about a thing: emails, jokes, lists, messages, slogans, and lively styles on demand.

An adapter can call up a form that the base has met; a form it never met is hard to teach with 17 examples.
"""

from collections.abc import Callable
from random import Random

from tools.tiny_base import tables
from tools.tiny_base.brief import Brief, preferred, said
from tools.tiny_base.grammar import capitalised
from tools.tiny_base.names import TokenPool, invented_name
from tools.tiny_base.things import Thing, any_thing, ordinary_noun, sentence_start, some_of

PIECES = "formats.yaml"
# Messages that speak for a group: `my bakery` becomes `our bakery`.
OURS = ("welcome", "thank you", "apology", "reminder", "invitation")


def fields(rng: Random, brief: Brief) -> dict[str, str]:
    """What the placeholders of `text/formats.yaml` stand for."""
    thing = brief.thing
    target = brief.occasion or brief.audience or ("every day", "Every day is a good day for something new.")
    verbs = said(rng, thing, 2)
    return {
        "x": thing.topic,
        "X": sentence_start(thing) if thing.may_start_sentence else thing.topic,
        "it": thing.pronoun,
        "It": capitalised(thing.pronoun),
        "be": thing.be,
        "v1": verbs[0],
        "v2": verbs[1],
        "o": target[0],
        "O": capitalised(target[0]),
        "f": target[1],
        "g": rng.choice(thing.good_for),
        "t": rng.choice(thing.tips),
        "p": ordinary_noun(rng).topic,
        "h": rng.choice(tables.phrases(PIECES)["person"]),
        "w": rng.choice(tables.phrases(PIECES)["place"]),
    }


def piece(rng: Random, name: str, values: dict[str, str], brief: Brief | None = None) -> str:
    """One of the phrases of that name, filled in; for a brief mostly the one that belongs to it."""
    options = tables.phrases(PIECES)[name]
    return (preferred(rng, options, brief) if brief else rng.choice(options)).format(**values)


def _email(rng: Random, brief: Brief) -> str:
    values = fields(rng, brief)
    target = "_target" if brief.occasion or brief.audience else ""
    subject = piece(rng, "email_subject" + target, values, brief)
    body = [piece(rng, "email_open" + target, values, brief)]
    if brief.length != "short":
        body += [piece(rng, "email_body", values, brief)]
    if brief.length == "long":
        body += [f"A simple tip is to {values['t']}."]
    end = piece(rng, "email_end", values, brief)
    return f"Subject: {subject}\n\nHello,\n\n{' '.join(body)} {end}\n\nKind regards,\nThe team"


def _joke(rng: Random, brief: Brief) -> str:
    known = brief.thing.known and rng.random() < 0.3
    return capitalised_if(brief.thing, piece(rng, "joke_known" if known else "joke", fields(rng, brief), brief))


def capitalised_if(thing: Thing, text: str) -> str:
    """Capitalise a text unless it starts with a topic that must stay as it is."""
    return text if text.startswith(thing.topic) and not thing.may_start_sentence else capitalised(text)


def _ideas(rng: Random, brief: Brief) -> str:
    values = fields(rng, brief)
    every = tables.phrases(PIECES)["idea_line"]
    lines = some_of(every, brief.thing.topic, 3) if rng.random() < 0.7 else rng.sample(every, 3)
    return "\n".join(f"{number}. {line.format(**values)}" for number, line in enumerate(lines, 1))


def _points(rng: Random, brief: Brief) -> str:
    thing = brief.thing
    verbs = said(rng, thing, 3)
    head = f"Three points about {thing.topic}:\n"
    return head + "\n".join(f"- {capitalised(thing.pronoun)} {verb}." for verb in verbs)


def _targeted(name: str) -> Callable[[Random, Brief], str]:
    """A format with other phrases when there is an occasion or an audience."""

    def write(rng: Random, brief: Brief) -> str:
        target = "_target" if brief.occasion or brief.audience else ""
        return piece(rng, name + target, fields(rng, brief), brief)

    return write


def _simple(name: str) -> Callable[[Random, Brief], str]:
    return lambda rng, brief: capitalised_if(brief.thing, piece(rng, name, fields(rng, brief), brief))


FORMATS: dict[str, Callable[[Random, Brief], str]] = {
    "email": _email,
    "joke": _joke,
    "ideas": _ideas,
    "points": _points,
    "slogan": _targeted("slogan"),
    "post": _targeted("post"),
    "story": _simple("story"),
    "poem": _simple("poem"),
}


def styled_email(rng: Random, pool: TokenPool) -> tuple[str, str]:
    """A question for an email in a lively style, and one of very many ways to write it."""
    brief = Brief("email", any_thing(rng, pool), occasion=rng.choice(tables.pairs("occasions.txt")))
    values = fields(rng, brief) | {"s": rng.choice(tables.phrases(PIECES)["styles"]), "n": invented_name(rng, pool)}
    asked = piece(rng, "style_ask", values)
    if brief.occasion and brief.occasion[0] not in asked:
        values |= {"o": "this week", "O": "This week"}
    return asked.replace(" a urgent", " an urgent"), _styled_text(rng, values)


def _styled_text(rng: Random, values: dict[str, str]) -> str:
    emoji = " " + rng.choice(tables.phrases(PIECES)["emoji"]) if rng.random() < 0.3 else ""
    gap = rng.choice([" ", "\n\n", "\n"])
    parts = [
        "Subject: " + piece(rng, "style_subject", values) + emoji,
        piece(rng, "style_hello", values),
        _pitch(rng, values),
        gap.join(filter(None, [piece(rng, "style_offer", values), piece(rng, "style_call", values)])),
        piece(rng, "style_bye", values) + ",\n" + piece(rng, "style_sign", values),
    ]
    if rng.random() < 0.25:
        parts.append(piece(rng, "style_ps", values))
    if rng.random() < 0.15:
        parts.pop(1)
    return "\n\n".join(parts)


def _pitch(rng: Random, values: dict[str, str]) -> str:
    """The middle of a styled email; it always names the topic."""
    while True:
        text = piece(rng, "style_hook", values) + rng.choice([" ", "\n\n"]) + piece(rng, "style_body", values)
        if values["x"] in text:
            return text


def comedy_bit(rng: Random, pool: TokenPool) -> tuple[str, str]:
    """A question for stand-up comedy, with an opening, a line and a closing of many voices."""
    brief = Brief("joke", any_thing(rng, pool))
    values = fields(rng, brief)
    if rng.random() < 0.08:
        return piece(rng, "knock_ask", values), piece(rng, "knock", values)
    opening, line = piece(rng, "bit_open", values), piece(rng, "bit_line", values)
    if opening.endswith(("? ", ". ", "! ")):
        line = capitalised_if(brief.thing, line)
    line = opening + line + piece(rng, "bit_close", values)
    return piece(rng, "bit_ask", values), capitalised_if(brief.thing, line)


def message(rng: Random, pool: TokenPool) -> tuple[str, str]:
    """A question for a short message (thanks, apology, invitation …) and the message."""
    kind, text = rng.choice(tables.phrases(PIECES)["messages"]).split(" | ")
    thing = any_thing(rng, pool)
    noun = thing.topic.removeprefix("an ").removeprefix("a ")
    asked = rng.choice(["our ", "my ", "the "]) + noun if noun != thing.topic else thing.topic
    if rng.random() < 0.25:
        asked = rng.choice(tables.pairs("occasions.txt"))[0]
    told = asked.replace("my ", "our ", 1) if asked.startswith("my ") and kind in OURS else asked
    question = (
        piece(rng, "message_ask", {"k": kind, "x": asked})
        .replace(" a apology", " an apology")
        .replace(" a invit", " an invit")
    )
    return capitalised(question), text.format(x=told)

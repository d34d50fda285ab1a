"""Things one can write about: known products, ordinary nouns, and words nobody has seen before."""

from dataclasses import dataclass, replace
from random import Random

from tools.tiny_base import tables
from tools.tiny_base.grammar import capitalised, plural, third_person, with_article
from tools.tiny_base.names import TokenPool, invented_name, nonsense_word
from tools.tiny_base.tables import NounKind, Number

# Of the nouns of a kind, every third is treated as unknown: unseen nouns then get plain words, not wrong facts.
VAGUE_EVERY = 3
# The base learns to say what kind of thing it is only for every sixth noun: a few that it can remember.
DEFINED_EVERY, DEFINED_PLACE = 6, 2


@dataclass(frozen=True)
class Thing:
    """A topic with what can be said about it. `topic` is the noun phrase exactly as it must be copied."""

    topic: str
    number: Number
    does: tuple[str, ...]
    good_for: tuple[str, ...]
    tips: tuple[str, ...]
    kind: str = ""
    known: bool = True

    @property
    def pronoun(self) -> str:
        return "they" if self.number == "many" else "it"

    @property
    def object(self) -> str:
        return "them" if self.number == "many" else "it"

    @property
    def be(self) -> str:
        return "are" if self.number == "many" else "is"

    @property
    def may_start_sentence(self) -> bool:
        """A topic that starts with an article or a known word can be capitalised without breaking the copy."""
        return self.known or self.topic.startswith(("a ", "an ", "the ", "our ", "my ", "this "))

    def verb(self, phrase: str) -> str:
        """The phrase inflected for this topic: `keep` or `keeps`."""
        inflected = phrase if self.number == "many" else third_person(phrase)
        if self.number == "many":
            inflected = inflected.replace(" its ", " their ")
            inflected = "are" + inflected[2:] if inflected.startswith("be ") else inflected
        return inflected


def letter(topic: str) -> int:
    """0 to 25 for the first letter of the topic's first word after an article."""
    words = [word for word in topic.lower().split() if word not in ("a", "an", "the", "our", "new", "this", "my")]
    return (ord(words[0][0]) - ord("a")) % 26 if words else 0


def some_of(phrases: tuple[str, ...], topic: str, count: int) -> tuple[str, ...]:
    """`count` of the phrases, chosen by the topic's first letter, so that even greedy answers differ by topic."""
    start = letter(topic) * 11 % len(phrases)
    return tuple(phrases[(start + place) % len(phrases)] for place in range(min(count, len(phrases))))


def _vague(topic: str, number: Number, kind: str = "") -> Thing:
    phrases = tables.phrases("phrases.yaml")
    return Thing(
        topic,
        number,
        some_of(phrases["does"], topic, 5),
        some_of(phrases["any_for"], topic, 2),
        some_of(phrases["any_tips"], topic, 2),
        kind,
        known=False,
    )


def product(rng: Random) -> Thing:
    """One of the products the base knows well."""
    row = rng.choice(tables.products())
    topic = with_article(row.name) if row.number == "one" else row.name
    return Thing(topic, row.number, row.does, row.good_for, row.tips)


def ordinary_noun(rng: Random) -> Thing:
    """A noun of the tables; two thirds of them with what is true of their kind."""
    kind = rng.choices(tables.noun_kinds(), weights=[_size(kind) for kind in tables.noun_kinds()])[0]
    number = rng.choices(list(kind.nouns), weights=[len(nouns) for nouns in kind.nouns.values()])[0]
    index = rng.randrange(len(kind.nouns[number]))
    noun = kind.nouns[number][index]
    topic = with_article(noun) if number == "one" else noun
    if number == "one" and rng.random() < 0.1:
        topic, number = plural(noun), "many"
    if index % VAGUE_EVERY == 0:
        return _vague(topic, number, kind.name)
    does, good_for, tips = some_of(kind.does, topic, 4), some_of(kind.good_for, topic, 2), some_of(kind.tips, topic, 2)
    known = Thing(topic, number, does, good_for, tips, kind.name)
    if number == "one" and rng.random() < 0.12:
        return replace(known, topic=with_article(f"{rng.choice(_adjectives())} {noun}"))
    return known


def defined_noun(rng: Random) -> Thing:
    """One of the nouns whose kind the base can name."""
    kind = rng.choice([kind for kind in tables.noun_kinds() if "one" in kind.nouns])
    noun = rng.choice(kind.nouns["one"][DEFINED_PLACE::DEFINED_EVERY])
    topic = with_article(noun)
    return Thing(topic, "one", some_of(kind.does, topic, 4), kind.good_for, kind.tips, kind.name)


def vague_noun(rng: Random) -> Thing:
    """An ordinary noun that is treated as unknown."""
    kind = rng.choice([kind for kind in tables.noun_kinds() if "one" in kind.nouns])
    return _vague(with_article(rng.choice(kind.nouns["one"][::VAGUE_EVERY])), "one")


def noun_of(rng: Random, name: str) -> Thing:
    """A countable noun of one kind."""
    kind = next(kind for kind in tables.noun_kinds() if kind.name == name)
    return Thing(with_article(rng.choice(kind.nouns["one"])), "one", kind.does, kind.good_for, kind.tips, kind.name)


def unseen(rng: Random, pool: TokenPool) -> Thing:
    """A topic made of words that the base has not seen: it can only copy them."""
    word = nonsense_word(rng, pool)
    form = rng.random()
    if form < 0.30:
        return _vague(with_article(word), "one")
    if form < 0.42:
        return _vague(with_article(f"{_noun(rng)} {word}" if rng.random() < 0.5 else f"{word} {_noun(rng)}"), "one")
    if form < 0.50:
        return _vague(with_article(f"{rng.choice(_adjectives())} {word}"), "one")
    if form < 0.60:
        return _vague(plural(word), "many")
    if form < 0.70:
        return _vague(word if rng.random() < 0.6 else f"{word} {nonsense_word(rng, pool)}", "some")
    name = invented_name(rng, pool)
    if form < 0.90:
        return _vague(f"the {name} {_noun(rng) if rng.random() < 0.6 else word}", "one")
    return _vague(name, "some")


def any_thing(rng: Random, pool: TokenPool) -> Thing:
    """A topic of any sort, sometimes as `our …`, `my …` or `the …`."""
    sort = rng.random()
    thing = product(rng) if sort < 0.18 else ordinary_noun(rng) if sort < 0.50 else unseen(rng, pool)
    bare = thing.topic.removeprefix("an ").removeprefix("a ")
    if thing.number == "one" and bare != thing.topic and rng.random() < 0.15:
        return replace(thing, topic=rng.choice(["the ", "our ", "our ", "our new ", "this "]) + bare)
    return thing


def sentence_start(thing: Thing) -> str:
    """The topic at the start of a sentence."""
    return capitalised(thing.topic)


def _size(kind: NounKind) -> int:
    return sum(len(nouns) for nouns in kind.nouns.values())


def _adjectives() -> tuple[str, ...]:
    return tables.phrases("phrases.yaml")["adjectives"]


def _noun(rng: Random) -> str:
    kind = rng.choice(tables.noun_kinds())
    return rng.choice(kind.nouns.get("one") or kind.nouns["some"])

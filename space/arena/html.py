"""What the arena shows, as HTML: headings over the answers, the reveal, word-level differences, an old battle."""

import html
import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from arena.battles.blinding import IMPORTED
from arena.battles.store import Battle
from arena.votes.votes import REASONS, Vote
from space.i18n import ENGLISH, say
from space.status import BASE, GatewayStatus

WORD = re.compile(r"\s*\S+|\s+$")
MOST_WORDS = 2000
"""Words of each answer that are compared; words after them count as its own."""


def hint(language: str = ENGLISH) -> str:
    """Which keys vote."""
    return f'<span class="keys">{say("arena_keys", language)}</span>'


def plate(
    side: str,
    battle: Battle | None = None,
    verdict: str = "",
    title: str = "",
    choice: str = "",
    language: str = ENGLISH,
) -> str:
    """The heading over an answer: a letter, and after the vote the name, the revision and whether it won."""
    letter = {"left": "A", "right": "B"}[side]
    if battle is None:
        return f'<div class="plate"><b>{letter}</b><span>{say("arena_who", language)}</span></div>'
    name, answer = (battle.left, battle.left_answer) if side == "left" else (battle.right, battle.right_answer)
    pinned = not answer.revision or "@" in name
    handle = html.escape(name if pinned else f"{name}@{answer.revision}")
    chosen = f" <em>{choice or say('arena_choice', language)}</em>" if verdict == side else ""
    kind = "plate known chosen" if verdict == side else "plate known"
    text = f"{html.escape(title)} <code>{handle}</code>{_times(side, battle.timing, language)}"
    return f'<div class="{kind}"><b>{letter}</b><span>{text}</span>{chosen}</div>'


def _times(side: str, timing: dict[str, float], language: str) -> str:
    """How long that side took; empty for answers that were not streamed."""
    first, total = timing.get(f"{side}_first"), timing.get(f"{side}_total")
    if first is None or total is None:
        return ""
    return f"<small>{say('arena_times', language, first=f'{first:.1f}', total=f'{total:.1f}')}</small>"


def recorded(prompt: str, language: str = ENGLISH) -> str:
    """The line over a recorded battle: that it is one, and its prompt."""
    if not prompt:
        return ""
    earlier = say("arena_recorded", language)
    return f'<div class="recorded"><em>{earlier}</em><span>{html.escape(prompt)}</span></div>'


def message(text: str, kind: str = "") -> str:
    """The line under the answers."""
    return f'<div class="note {kind}" role="status">{text}</div>'


def link(battle: str, language: str = ENGLISH) -> str:
    """A link to the battle, on this page."""
    return f'<a href="?battle={html.escape(battle)}" target="_blank">{say("arena_link", language)}</a>'


def recalled(battle: Battle, vote: Vote, titles: dict[str, str], language: str = ENGLISH) -> str:
    """A battle that was voted on, whole: what `?battle=…` shows."""
    sides = ""
    for side, name, text in (
        ("left", battle.left, battle.left_answer.text),
        ("right", battle.right, battle.right_answer.text),
    ):
        preferred = say("recalled_preferred", language)
        heading = plate(side, battle, vote.verdict, titles.get(name, name), preferred, language)
        sides += f'<div class="answer">{heading}<p>{html.escape(text)}</p></div>'
    verdict = say(f"recalled_{vote.verdict}", language) if vote.verdict in ("tie", "both_bad") else ""
    why = ", ".join(say(f"arena_chip_{reason}", language) for reason in vote.reasons if reason in REASONS)
    words = " ".join(filter(None, [verdict, say("recalled_why", language, reasons=why) if why else ""]))
    date = say("recalled_heading", language, date=f"{battle.at:%Y-%m-%d}")
    return (
        f'<div class="recalled"><h3>{date}</h3>'
        f"<blockquote>{html.escape(battle.prompt)}</blockquote>"
        f'<div class="columns">{sides}</div>{message(words) if words else ""}{differences(battle, language)}</div>'
    )


def titles_of_battle(battle: Battle, status: GatewayStatus) -> dict[str, str]:
    """The titles of both contestants, by name."""
    known = {one.name: one.title for one in (BASE, *status.contestants)}
    return {name: title_of(name, known) for name in (battle.left, battle.right)}


def title_of(name: str, known: dict[str, str]) -> str:
    """The title of a contestant, given the titles of the base and of the live personas."""
    if name in known:
        return known[name]
    for mark, what in (("+", "examples"), ("~", "the description")):
        if name.startswith(f"{BASE.name}{mark}"):
            persona = name.removeprefix(f"{BASE.name}{mark}")
            return f"{known.get(BASE.name, BASE.title)} with {what} of {known.get(persona, persona)}"
    return known.get(name.partition("@")[0], name.removesuffix(IMPORTED))


def differences(battle: Battle, language: str = ENGLISH) -> str:
    """Both answers with the words marked that only one of them has, folded until it is opened."""
    sides = word_diff(battle.left_answer.text, battle.right_answer.text)
    columns = "".join(
        f"<div><b>{letter}</b> {''.join(map(_marked, side))}</div>" for letter, side in zip("AB", sides, strict=True)
    )
    return (
        f'<details class="differences"><summary>{say("arena_compare", language)}</summary>'
        f'<div class="columns">{columns}</div></details>'
    )


@dataclass(frozen=True)
class Stretch:
    """Consecutive words that the other answer has, too, or (`own`) has not."""

    text: str
    own: bool


def word_diff(left: str, right: str) -> tuple[list[Stretch], list[Stretch]]:
    """Splits both answers into stretches; joined, they are the answers again. Case and spacing make no difference."""
    sides = [WORD.findall(text) for text in (left, right)]
    keys = [[word.strip().casefold() for word in words[:MOST_WORDS]] for words in sides]
    blocks = SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks()
    shared = [[(block.a, block.size) for block in blocks], [(block.b, block.size) for block in blocks]]
    one, other = (_stretches(words, found) for words, found in zip(sides, shared, strict=True))
    return one, other


def _stretches(words: list[str], shared: list[tuple[int, int]]) -> list[Stretch]:
    found: list[Stretch] = []
    at = 0
    for start, size in [*shared, (len(words), 0)]:
        found.append(Stretch("".join(words[at:start]), own=True))
        found.append(Stretch("".join(words[start : start + size]), own=False))
        at = start + size
    return [one for one in found if one.text]


def _marked(stretch: Stretch) -> str:
    text = html.escape(stretch.text)
    return f"<mark>{text}</mark>" if stretch.own else text

"""What the arena shows, as HTML: plates over the answers, the reveal, word-level differences, an old battle."""

import html

from arena.battles.blinding import IMPORTED
from arena.battles.store import Battle
from arena.votes.votes import REASONS, Vote
from space.arena.word_diff import Stretch, word_diff
from space.i18n import ENGLISH, say
from space.status import BASE, GatewayStatus


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
    said = f"{html.escape(title)} <code>{handle}</code>{_clock(side, battle.timing, language)}"
    return f'<div class="{kind}"><b>{letter}</b><span>{said}</span>{chosen}</div>'


def _clock(side: str, timing: dict[str, float], language: str) -> str:
    """How long that side took; nothing for answers that nobody waited for."""
    first, total = timing.get(f"{side}_first"), timing.get(f"{side}_total")
    if first is None or total is None:
        return ""
    return f"<small>{say('arena_times', language, first=f'{first:.1f}', total=f'{total:.1f}')}</small>"


def recorded(prompt: str, language: str = ENGLISH) -> str:
    """The line over a recorded battle: that it is one, and what was asked."""
    if not prompt:
        return ""
    earlier = say("arena_recorded", language)
    return f'<div class="recorded"><em>{earlier}</em><span>{html.escape(prompt)}</span></div>'


def message(text: str, kind: str = "") -> str:
    """The line under the answers."""
    return f'<div class="note {kind}" role="status">{text}</div>'


def link(battle: str, language: str = ENGLISH) -> str:
    """Address of a battle's replay, on this page."""
    return f'<a href="?battle={html.escape(battle)}" target="_blank">{say("arena_link", language)}</a>'


def differences(battle: Battle, language: str = ENGLISH) -> str:
    """Both answers with the words marked that only one of them has; folded until somebody wants it."""
    sides = word_diff(battle.left_answer.text, battle.right_answer.text)
    columns = "".join(
        f"<div><b>{letter}</b> {''.join(map(_marked, side))}</div>" for letter, side in zip("AB", sides, strict=True)
    )
    return (
        f'<details class="differences"><summary>{say("arena_compare", language)}</summary>'
        f'<div class="columns">{columns}</div></details>'
    )


def _marked(stretch: Stretch) -> str:
    text = html.escape(stretch.text)
    return f"<mark>{text}</mark>" if stretch.own else text


def recalled(battle: Battle, vote: Vote, titles: dict[str, str], language: str = ENGLISH) -> str:
    """A battle that was voted on, whole: what `?battle=…` shows."""
    sides = ""
    for side, name, text in (
        ("left", battle.left, battle.left_answer.text),
        ("right", battle.right, battle.right_answer.text),
    ):
        preferred = say("recalled_preferred", language)
        over = plate(side, battle, vote.verdict, titles.get(name, name), preferred, language)
        sides += f'<div class="answer">{over}<p>{html.escape(text)}</p></div>'
    said = say(f"recalled_{vote.verdict}", language) if vote.verdict in ("tie", "both_bad") else ""
    why = ", ".join(say(f"arena_chip_{reason}", language) for reason in vote.reasons if reason in REASONS)
    words = " ".join(filter(None, [said, say("recalled_why", language, reasons=why) if why else ""]))
    date = say("recalled_heading", language, date=f"{battle.at:%Y-%m-%d}")
    return (
        f'<div class="recalled"><h3>{date}</h3>'
        f"<blockquote>{html.escape(battle.prompt)}</blockquote>"
        f'<div class="columns">{sides}</div>{message(words) if words else ""}{differences(battle, language)}</div>'
    )


def names_of(battle: Battle, snapshot: GatewayStatus) -> dict[str, str]:
    """What people call both contestants."""
    known = {one.name: one.title for one in (BASE, *snapshot.contestants)}
    return {name: title_of(name, known) for name in (battle.left, battle.right)}


def title_of(name: str, known: dict[str, str]) -> str:
    """What people call a contestant, given the titles of the base and of the live personas."""
    if name in known:
        return known[name]
    if name.startswith(f"{BASE.name}+"):
        persona = name.removeprefix(f"{BASE.name}+")
        return f"{known.get(BASE.name, BASE.title)} with examples of {known.get(persona, persona)}"
    return known.get(name.partition("@")[0], name.removesuffix(IMPORTED))

"""The gallery: a card for each persona, to choose who answers."""

import html

import gradio as gr

from arena.ranking.leaderboard import MIN_VOTES
from space.backends.listing import Contestant
from space.i18n import ENGLISH, say
from space.leaderboard.win_rates import PersonaWinRate
from space.status import BASE, GatewayStatus

MAX_SAMPLE = 320
"""Characters of a sample answer that a card shows."""
SKELETON = '<div class="gallery" aria-hidden="true">' + '<div class="card skeleton"></div>' * 3 + "</div>"
"""Shown until the model server has listed the personas."""

PAGE = 12
"""Personas that are shown at first; with more of them there is a search, and a button for the next page."""

CHOOSE = f"""
let asked = '', shown = {PAGE};
const page = () => {{
  const find = element.querySelector('.find'), more = element.querySelector('.more');
  if (!find) return;
  if (find.value !== asked) find.value = asked;
  const words = asked.toLowerCase().split(/\\s+/).filter(Boolean);
  let fitting = 0;
  element.querySelectorAll('.card').forEach(card => {{
    const text = card.textContent.toLowerCase();
    const fits = words.every(word => text.includes(word)) && ++fitting;
    card.hidden = !fits || (fitting > shown && !card.matches('.base, :has(input:checked)'));
  }});
  more.hidden = fitting <= shown;
  element.querySelector('.nobody').hidden = fitting > 0;
}};
const sync = () => {{
  element.querySelectorAll('input[name="persona"]').forEach(one => {{ one.checked = one.value === props.value; }});
  page();
}};
element.addEventListener('input', event => {{
  if (!event.target.matches('.find')) return;
  [asked, shown] = [event.target.value, {PAGE}];
  page();
}});
element.addEventListener('click', event => {{
  if (!event.target.matches('.more')) return;
  shown += {PAGE};
  page();
}});
element.addEventListener('change', event => {{
  if (event.target.name !== 'persona') return;
  props.value = event.target.value;
  trigger('choose');
}});
watch(['value', 'cards'], sync);
sync();
"""
"""The choice and the search live in the page, so they survive a restart of this app."""


def build_gallery() -> gr.HTML:
    """A component whose value is the chosen name; its event is `choose`, its cards are the property `cards`."""
    return gr.HTML(
        BASE.name,
        html_template="${cards}",
        js_on_load=CHOOSE,
        apply_default_css=False,
        cards=SKELETON,
        elem_id="personas",
    )


def order(status: GatewayStatus) -> list[Contestant]:
    """Personas first, then the base."""
    return [*status.personas, *(one for one in status.contestants if one.kind == "base")]


def cards(status: GatewayStatus, language: str = ENGLISH) -> str:
    """HTML of the gallery: a group of radio buttons, so that keyboards and screen readers can use it."""
    win_rates = {one.name: one for one in status.win_rates}
    everyone = order(status)
    inside = "".join(
        _card(one, win_rates.get(one.name), language, hidden=place >= PAGE and one.kind != "base")
        for place, one in enumerate(everyone)
    )
    nobody = "" if status.personas or not status.ready else f'<p class="note">{say("gallery_none", language)}</p>'
    label = say("gallery_label", language)
    find, more = _search(len(everyone) - 1, language) if len(everyone) > PAGE else ("", "")
    return f'<fieldset><legend>{label}</legend>{find}<div class="gallery">{inside}</div>{more}{nobody}</fieldset>'


def _search(count: int, language: str) -> tuple[str, str]:
    """HTML over and under a gallery of more than one page."""
    label = html.escape(say("gallery_find", language, n=count), quote=True)
    find = f'<input type="search" class="find" aria-label="{label}" placeholder="{label}" autocomplete="off">'
    return find, (
        f'<p class="note nobody" role="status" hidden>{say("gallery_nobody", language)}</p>'
        f'<button type="button" class="more">{say("gallery_more", language)}</button>'
    )


def title(who: Contestant, language: str) -> str:
    """The name that visitors see."""
    return say("base_title", language) if who.kind == "base" and who.title in ("Base", BASE.title) else who.title


def _card(who: Contestant, wins: PersonaWinRate | None, language: str, *, hidden: bool) -> str:
    voice = say("base_voice", language) if who.kind == "base" else who.voice
    name = html.escape(who.name, quote=True)
    facts = "".join(f"<li>{fact}</li>" for fact in _facts(who, wins, language))
    shown = " hidden" if hidden else ""
    return (
        f'<div class="card {who.kind}"{shown}><label><input type="radio" name="persona" value="{name}">'
        f'<span class="title">{html.escape(title(who, language))}</span>'
        f'<span class="voice">{html.escape(voice)}</span></label>'
        f'<ul class="facts">{facts}</ul>{_sample(who, language)}</div>'
    )


def _facts(who: Contestant, wins: PersonaWinRate | None, language: str) -> list[str]:
    if who.kind == "base":
        return [say("gallery_shared", language)]
    facts = []
    if who.examples:
        key = "gallery_one_example" if who.examples == 1 else "gallery_examples"
        facts.append(say(key, language, n=who.examples))
    facts.append(_win_rate(wins or PersonaWinRate(who.name, MIN_VOTES), language))
    if who.revision:
        facts.append(f"{say('gallery_revision', language)} <code>{html.escape(who.revision)}</code>")
    return facts


def _win_rate(wins: PersonaWinRate, language: str) -> str:
    if wins.to_go:
        key = "gallery_one_vote_to_go" if wins.to_go == 1 else "gallery_votes_to_go"
        return say(key, language, n=wins.to_go)
    rate, low, high = (round(100 * share) for share in (wins.rate, wins.low, wins.high))
    return f'<strong class="wins">{say("gallery_wins", language, rate=rate, low=low, high=high)}</strong>'


def _sample(who: Contestant, language: str) -> str:
    if not who.shots:
        return ""
    shot = who.shots[0]
    answer = shot.answer if len(shot.answer) <= MAX_SAMPLE else f"{shot.answer[:MAX_SAMPLE].rstrip()}…"
    return (
        f"<details><summary>{say('gallery_sample', language)}</summary>"
        f'<p class="asked">{html.escape(shot.prompt)}</p><blockquote>{html.escape(answer)}</blockquote></details>'
    )

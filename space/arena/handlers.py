"""Events of the arena tab: battle, vote, suggestions, keys, and the battle that a link asks for."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr
from sqlalchemy.exc import SQLAlchemyError

from arena.battles.store import BattleTicket
from arena.votes.votes import VERDICTS, VoteError, find_vote
from space.arena import battle as battles
from space.arena.battle import ArenaServices, BattleView, run_battle, suggestions
from space.arena.html import message, recalled, titles_of_battle
from space.arena.tab import ArenaTab, chips, intro, reveal, rivals, show, suggested
from space.i18n import error_notice, language_of, notice, say
from space.theme import QUIET

KEYS = """() => {
  if (window.arenaKeys) return;
  window.arenaKeys = true;
  const verdicts = {arrowleft: 'left', a: 'left', arrowright: 'right', b: 'right', t: 'tie', n: 'both_bad'};
  const typing = 'input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable=true], '
    + '[role=listbox], [role=tablist]';
  const press = (id) => {
    const button = document.getElementById(id);
    if (!button || button.offsetParent === null || button.disabled) return false;
    button.click();
    return true;
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest('#prompt textarea') && event.key === 'Enter' && !event.shiftKey) {
      setTimeout(() => event.target.blur(), 0);
      return;
    }
    if (event.target.closest(typing)) return;
    const key = event.key.toLowerCase();
    const done = (verdicts[key] && press('vote-' + verdicts[key])) || (key === 'n' && press('next'));
    if (done) event.preventDefault();
  });
  document.addEventListener('click', (event) => {
    if (innerWidth > 700 || !event.target.closest('#start, #next, #votes button')) return;
    setTimeout(() => document.getElementById('answers')?.scrollIntoView({behavior: 'smooth', block: 'start'}), 200);
  });
}"""
"""Votes by keyboard while nobody types; a key does what its button does. On a phone the answers, and after the vote the
names over them, scroll into view."""


def open_page(app: gr.Blocks, services: ArenaServices, tab: ArenaTab, tabs: gr.Tabs) -> None:
    """Wires what happens when a page is opened: keys, translated choices, and the battle that a link asks for."""

    async def opened(request: gr.Request) -> list[Any]:
        language = language_of(request)
        found = await recall(services, request)
        shown = [gr.skip(), gr.skip()] if found is None else [gr.update(selected="arena"), found]
        choices = [gr.update(choices=rivals(services, language)), gr.update(choices=chips(language))]
        return [*shown, *choices, intro(language)]

    app.load(None, None, None, js=KEYS)
    app.load(opened, None, [tabs, tab.recalled, tab.against, tab.reasons, tab.message], queue=False, **QUIET)


async def recall(services: ArenaServices, request: gr.Request) -> Any:
    """The battle of `?battle=…` in the address as an update of `ArenaTab.recalled`; None without one."""
    battle_id, language = str(request.query_params.get("battle") or ""), language_of(request)
    if not battle_id:
        return None
    try:
        vote = await asyncio.to_thread(find_vote, services.store.engine, battle_id)
        battle = await asyncio.to_thread(services.store.get, battle_id) if vote else None
    except SQLAlchemyError:
        return gr.update(value=message(say("recalled_trouble", language), "trouble"), visible=True)
    if vote is None or battle is None:
        return gr.update(value=message(say("recalled_none", language), "trouble"), visible=True)
    titles = titles_of_battle(battle, await services.monitor.status())
    return gr.update(value=recalled(battle, vote, titles, language), visible=True)


def wire(tab: ArenaTab, services: ArenaServices) -> None:
    """Connects the parts of the tab. Gradio names events after these functions."""

    async def battle(
        prompt: str, choice: str | None, against: str | None, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        voter, language = services.voters.name(request), language_of(request)
        if wait := services.voters.start(request):
            busy = notice("arena_too_many", seconds=f"{wait:.0f}")
            yield show(BattleView(message=busy, kind="trouble"), language)
            return
        async with aclosing(run_battle(services, prompt, choice, voter, against)) as views:
            async for view in views:
                yield show(view, language)

    async def vote(
        verdict: str, ticket: BattleTicket | None, reasons: list[str] | None, request: gr.Request
    ) -> list[Any]:
        language = language_of(request)
        try:
            voter = services.voters.name(request)
            voted = await asyncio.to_thread(battles.vote, services, verdict, ticket, voter, reasons or ())
        except VoteError as error:
            gr.Warning(error_notice(error).text(language))
        except SQLAlchemyError:
            gr.Warning(say("arena_unsaved", language))
        else:
            return reveal(voted, verdict, await services.monitor.status(), language)
        return [gr.skip() for _ in tab.battle_outputs]

    async def suggest(choice: str | None, against: str | None, before: str) -> str:
        pool = suggestions(await services.monitor.status(), choice, against, services.other_systems)
        fresh = [prompt for prompt in pool if prompt != before] or pool
        return secrets.choice(fresh) if fresh else before

    async def choose(choice: str | None, against: str | None) -> Any:
        return suggested(suggestions(await services.monitor.status(), choice, against, services.other_systems))

    choices = [tab.persona, tab.against]
    inputs = [tab.prompt, *choices]
    gr.on([tab.start.click, tab.prompt.submit], battle, inputs, tab.battle_outputs, **QUIET)
    next_prompt = tab.next_battle.click(suggest, [*choices, tab.prompt], tab.prompt, queue=False, **QUIET)
    next_prompt.then(battle, inputs, tab.battle_outputs, **QUIET)
    tab.prompts.click(lambda sample: sample[0], tab.prompts, tab.prompt, queue=False, api_visibility="private")
    gr.on([one.input for one in choices], choose, choices, tab.prompts, queue=False, **QUIET)
    for verdict, button in zip(VERDICTS, tab.buttons, strict=True):
        button.click(_caster(vote, verdict), [tab.ticket, tab.reasons], tab.battle_outputs, **QUIET)


def _caster(vote: Any, verdict: str) -> Any:
    """A handler that casts one verdict (Gradio reads signatures, so not a partial)."""

    async def cast(ticket: BattleTicket | None, reasons: list[str] | None, request: gr.Request) -> list[Any]:
        return await vote(verdict, ticket, reasons, request)

    return cast

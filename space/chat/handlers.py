"""Events of the chat tab: send, stop, retry, edit, change the persona, keep, share, compare."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from space.arena.tab import ArenaTab
from space.backends.protocol import Backend
from space.chat.conversation import (
    MAX_CHARACTERS,
    MAX_TEMPERATURE,
    MAX_TOKENS,
    Chat,
    Message,
    answer,
    asked,
    edited,
    last_question,
    note,
    restored,
    rewind,
)
from space.chat.tab import KEPT_AS, ChatTab, examples, next_note
from space.i18n import language_of, say
from space.status import BASE, GatewayMonitor
from space.theme import QUIET

Update = tuple[Any, Any, Any]
"""Updates of the conversation, the note and the message box."""

SHARE = """(persona, draft, history) => {
  const text = message => typeof message.content === 'string' ? message.content
    : (message.content || []).map(part => part.text || '').join('');
  const questions = (history || []).filter(message => message.role === 'user').map(text);
  const link = new URL(window.location.href);
  link.search = new URLSearchParams({persona, prompt: draft.trim() || questions.at(-1) || ''});
  navigator.clipboard?.writeText(link.href).catch(() => {});
  return {__type__: 'update', value: link.href, visible: true};
}"""
"""Makes the link in the browser, so that the question reaches no server before somebody opens the link."""
OPENED = """(persona, prompt, kept) => {
  const wanted = new URLSearchParams(window.location.search);
  return [wanted.get('persona') || '', wanted.get('prompt') || '', kept];
}"""
FORGET = f"""(kept) => {{ if (!kept?.history?.length) localStorage.removeItem('{KEPT_AS}'); }}"""
"""Gradio can write the browser's store, but not remove from it."""
START_BATTLE = """(prompt) => {
  const go = tries => {
    const start = document.querySelector('#start');
    if (start?.offsetParent) start.click(); else if (tries) setTimeout(go, 50, tries - 1);
  };
  if (prompt.trim()) go(40);
}"""
"""Clicks as soon as the arena is on the page; does nothing without a prompt."""


class ChatEvents:
    """Handlers of the tab, from data to updates."""

    def __init__(self, gateway: Backend, monitor: GatewayMonitor) -> None:
        self._gateway = gateway
        self._monitor = monitor

    async def _answer(
        self, history: list[Message], name: str, temperature: float, max_tokens: float, box: Any, request: gr.Request
    ) -> AsyncIterator[Update]:
        """Streams an answer; `box` is the new text of the message box, None to leave it."""
        who = (await self._monitor.status()).find(name)
        chats = answer(
            self._gateway,
            who,
            history,
            temperature=min(max(temperature, 0), MAX_TEMPERATURE),
            max_tokens=min(max(int(max_tokens), 1), MAX_TOKENS),
            session=request.session_hash or "",
            language=language_of(request),
        )
        async for chat in chats:
            yield _updates(chat, box)
            box = None

    async def send(
        self, text: str, history: list[Message], name: str, temperature: float, tokens: float, request: gr.Request
    ) -> AsyncIterator[Update]:
        """Asks `text`."""
        if not text.strip():
            yield gr.skip(), gr.skip(), gr.skip()
            return
        async for update in self._answer([*history, asked(text)], name, temperature, tokens, "", request):
            yield update

    async def pick(
        self,
        event: gr.SelectData,
        history: list[Message],
        name: str,
        temperature: float,
        tokens: float,
        request: gr.Request,
    ) -> AsyncIterator[Update]:
        """Asks the suggestion that was clicked."""
        async for update in self.send(event.value["text"], history, name, temperature, tokens, request):
            yield update

    async def again(
        self, history: list[Message], name: str, temperature: float, tokens: float, request: gr.Request
    ) -> AsyncIterator[Update]:
        """Asks the persona that is chosen now the last question again."""
        question = rewind(history)
        if not question:
            yield gr.skip(), note(say("chat_no_retry", language_of(request))), gr.skip()
            return
        async for update in self._answer(question, name, temperature, tokens, None, request):
            yield update

    async def edit(
        self,
        event: gr.EditData,
        history: list[Message],
        name: str,
        temperature: float,
        tokens: float,
        request: gr.Request,
    ) -> AsyncIterator[Update]:
        """Replaces an earlier question and drops what came after it."""
        index = event.index if isinstance(event.index, int) else event.index[0]
        async for update in self._answer(
            edited(history, index, _text(event.value)), name, temperature, tokens, None, request
        ):
            yield update

    async def choose(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        """Lets another persona continue the conversation."""
        who = (await self._monitor.status()).find(name)
        return (
            gr.update(examples=examples(who)),
            next_note(who, language_of(request)),
            who.sampling.temperature,
            who.sampling.max_tokens,
        )


def wire(tab: ChatTab, gateway: Backend, monitor: GatewayMonitor) -> None:
    """Connects the parts of the tab."""
    events = ChatEvents(gateway, monitor)
    outputs = [tab.chatbot, tab.note, tab.box]
    inputs = [tab.chatbot, *tab.settings]
    running: list[Any] = [
        tab.box.submit(events.send, [tab.box, *inputs], outputs, **QUIET),
        tab.chatbot.example_select(events.pick, inputs, outputs, **QUIET),
        gr.on([tab.retry.click, tab.chatbot.retry], events.again, inputs, outputs, **QUIET),
        tab.chatbot.edit(events.edit, inputs, outputs, **QUIET),
    ]
    stopped = tab.box.stop(_stopped, None, [tab.note, tab.box], cancels=running, queue=False, **QUIET)
    cleared = tab.clear.click(_cleared, None, [*outputs, tab.link], cancels=running, queue=False, **QUIET)
    tab.persona.choose(
        events.choose,
        tab.persona,
        [tab.chatbot, tab.note, tab.temperature, tab.max_tokens],
        queue=False,
        **QUIET,
    )
    tab.share.click(None, [tab.persona, tab.box, tab.chatbot], tab.link, js=SHARE, queue=False, **QUIET)
    keeping = {"inputs": [tab.keep, tab.chatbot, tab.persona, tab.kept], "outputs": tab.kept, "queue": False, **QUIET}
    saved = [change.then(_kept, **keeping) for change in (*running, stopped, cleared)]
    for change in (*saved, tab.keep.input(_kept, **keeping)):
        change.then(None, tab.kept, js=FORGET, queue=False, **QUIET)


def open_page(shown: Any, tab: ChatTab, monitor: GatewayMonitor) -> None:
    """Wires what follows `shown`: the address's persona and prompt, and the conversation that the browser kept."""

    async def opened(name: str, prompt: str, kept: Any, request: gr.Request) -> list[Any]:
        status = await monitor.status()
        history = restored(kept)
        known = {one.name for one in status.contestants}
        wished = next((one for one in (name, kept.get("persona") if history else "") if one in known), None)
        who = status.find(wished)
        return [
            wished or gr.skip(),
            gr.update(value=history) if history else gr.skip(),
            prompt[:MAX_CHARACTERS] or gr.skip(),
            bool(history),
            *([who.sampling.temperature, who.sampling.max_tokens] if wished else [gr.skip(), gr.skip()]),
        ]

    persona, prompt = gr.Textbox(visible=False), gr.Textbox(visible=False)
    outputs = [tab.persona, tab.chatbot, tab.box, tab.keep, tab.temperature, tab.max_tokens]
    shown.then(opened, [persona, prompt, tab.kept], outputs, js=OPENED, queue=False, **QUIET)


def compare_in_arena(tab: ChatTab, tabs: gr.Tabs, arena: ArenaTab) -> None:
    """Wires "Compare with base": the same question as a blind battle."""
    inputs = [tab.persona, tab.box, tab.chatbot]
    moved = tab.compare.click(
        _compare, inputs, [tabs, arena.persona, arena.against, arena.prompt, tab.note], queue=False, **QUIET
    )
    moved.then(None, arena.prompt, js=START_BATTLE, queue=False, **QUIET)


def _compare(name: str, draft: str, history: list[Message], request: gr.Request) -> tuple[Any, ...]:
    question = draft.strip() or last_question(history)
    if not question:
        return gr.skip(), gr.skip(), gr.skip(), gr.skip(), note(say("chat_no_compare", language_of(request)))
    rival = gr.skip() if name == BASE.name else name
    return gr.Tabs(selected="arena"), rival, BASE.name, question, gr.skip()


def _stopped(request: gr.Request) -> tuple[Any, Any]:
    return note(say("chat_stopped", language_of(request))), _box(False)


def _cleared() -> tuple[Any, ...]:
    return [], note(""), _box(False), gr.update(visible=False)


def _kept(keep: bool, history: list[Message], persona: str, kept: Any) -> Any:
    """What the browser keeps: nothing without the tick, or of an empty conversation."""
    if keep and history:
        return {"history": restored({"history": history}), "persona": persona}
    return {"history": []} if kept else ""


def _updates(chat: Chat, box: Any) -> Update:
    return chat.history, chat.note, _box(chat.busy, box)


def _box(busy: bool, value: str | None = None) -> Any:
    buttons: dict[str, Any] = {"submit_btn": not busy, "stop_btn": busy}
    return gr.update(**buttons) if value is None else gr.update(value=value, **buttons)


def _text(value: Any) -> str:
    """The new text of an edited message, which Gradio sends as text or as parts."""
    parts = value if isinstance(value, list) else [value]
    return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in parts)

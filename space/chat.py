"""The chat: choose who answers, talk, stop, retry, start over."""

import asyncio
import html
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from space.banner import BASE, Backend, Snapshot
from space.events import QUIET
from space.gateway_client import Contestant, GatewayClient, pseudonym
from space.streaming import BEAT, listening

MAX_CHARACTERS = 8000
"""Longest message a person can send."""
HOTTEST, LONGEST = 2.0, 1024
"""Ends of the sliders: temperature, and tokens of an answer."""

Message = dict[str, Any]
Update = tuple[Any, Any, Any]
"""Conversation, note and message box."""


@dataclass(frozen=True)
class Chat:
    """The conversation as a page shows it."""

    history: list[Message]
    note: str = ""
    """One line of HTML under the conversation: who answered, or what went wrong."""
    busy: bool = False


def plain(history: list[Message]) -> list[dict[str, str]]:
    """The conversation as the endpoint wants it: text only, and no question that was never answered."""
    kept: list[dict[str, str]] = []
    for message in history:
        turn = {"role": str(message["role"]), "content": _text(message["content"])}
        if not turn["content"].strip():
            continue
        if kept and kept[-1]["role"] == turn["role"]:
            kept.pop()
        kept.append(turn)
    return kept


def rewind(history: list[Message]) -> list[Message]:
    """The conversation up to and with the last question."""
    last = max((i for i, message in enumerate(history) if message["role"] == "user"), default=-1)
    return history[: last + 1]


async def answer(
    gateway: GatewayClient,
    who: Contestant,
    history: list[Message],
    *,
    temperature: float,
    max_tokens: int,
    session: str = "",
) -> AsyncIterator[Chat]:
    """Streams the answer to the last question of `history`; errors become a note, never an exception."""
    chat = Chat(history, _note(f"{html.escape(who.title)} is thinking…"), busy=True)
    yield chat
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    stream = gateway.stream(who.name, plain(history), **sampling, user=pseudonym(session))
    shown = news = ""
    async with listening(stream) as (growing,):
        while not growing.done:
            await asyncio.sleep(BEAT)
            if growing.news != news:
                news = growing.news
                yield replace(chat, note=_note(html.escape(news) or f"{html.escape(who.title)} is thinking…"))
            if growing.text != shown:
                shown = growing.text
                chat = replace(
                    chat, history=[*history, _said(shown)], note=_by(who, growing.revision, "Being answered by")
                )
                yield chat
    if growing.error:
        note = _note(f"⚠ {html.escape(growing.error)} Press “Retry” to ask again.", "trouble")
    elif not growing.text.strip():
        note = _note("The answer was empty. Press “Retry” to ask again.", "trouble")
    else:
        note = _by(who, growing.revision)
    yield Chat(chat.history, note)


def cards(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Choices of the persona picker: title and voice, personas first."""
    order = [*snapshot.personas, *(one for one in snapshot.contestants if one.kind == "base")]
    return [(f"{one.title}\n{one.voice}".strip(), one.name) for one in order]


def examples(who: Contestant) -> list[dict[str, str]]:
    """The suggested prompts, as a chatbot shows them while it is empty."""
    return [{"text": prompt} for prompt in who.prompts[:4]]


def live(who: Contestant) -> str:
    """One line that says which revision is live."""
    revision = f" · live revision <code>{html.escape(who.revision)}</code>" if who.revision else ""
    return _note(f"<strong>{html.escape(who.title)}</strong>{revision}")


@dataclass(frozen=True)
class ChatTab:
    """What the page must refresh when personas come, go or change."""

    persona: gr.Radio
    chatbot: gr.Chatbot
    live: gr.HTML
    temperature: gr.Slider
    max_tokens: gr.Slider
    current: gr.State
    """Name of the contestant whose conversation is on the page."""

    @property
    def outputs(self) -> list[Any]:
        return [self.persona, self.chatbot, self.live, self.temperature, self.max_tokens, self.current]


def refresh(snapshot: Snapshot, chosen: str | None, *, first: bool) -> list[Any]:
    """Updates for `ChatTab.outputs`; the choice and the sliders stay as they are unless they must change."""
    names = [name for _, name in cards(snapshot)]
    kept = chosen in names and not first
    name = chosen if kept else names[0]
    who = snapshot.find(name)
    sliders = [gr.skip(), gr.skip()] if kept else [who.sampling.temperature, who.sampling.max_tokens]
    return [
        gr.update(choices=cards(snapshot), value=name),
        gr.update(examples=examples(who)),
        live(who),
        *sliders,
        name,
    ]


def build_chat(gateway: GatewayClient, backend: Backend) -> ChatTab:
    """Lays out the tab and wires it."""
    current = gr.State(BASE.name)
    shelf = gr.State({})
    with gr.Row(elem_id="chat-row"):
        with gr.Column(scale=1, min_width=240, elem_id="chat-side"):
            persona = gr.Radio(
                [(f"{BASE.title}\n{BASE.voice}", BASE.name)],
                value=BASE.name,
                label="Who should answer?",
                elem_id="personas",
            )
            with gr.Accordion("Advanced", open=False, elem_id="advanced"):
                temperature = gr.Slider(0, HOTTEST, 0.7, step=0.05, label="Temperature")
                max_tokens = gr.Slider(16, LONGEST, 256, step=1, label="Longest answer (tokens)")
        with gr.Column(scale=3, min_width=320, elem_id="chat-main"):
            status = gr.HTML(elem_id="live")
            chatbot = gr.Chatbot(
                elem_id="chatbot",
                height="56vh",
                min_height=320,
                show_label=False,
                buttons=["copy"],
                layout="bubble",
                allow_tags=False,
                latex_delimiters=[],
                feedback_options=None,
                placeholder="### Say hello\nPick a suggestion, or write your own.",
            )
            note = gr.HTML(elem_id="note")
            box = gr.Textbox(
                placeholder="Write a message…",
                show_label=False,
                lines=1,
                max_lines=6,
                max_length=MAX_CHARACTERS,
                submit_btn=True,
                elem_id="message",
            )
            with gr.Row(elem_id="chat-buttons"):
                retry = gr.Button("Retry", size="sm", elem_id="retry")
                clear = gr.Button("Clear", size="sm", elem_id="clear")
    tab = ChatTab(persona, chatbot, status, temperature, max_tokens, current)
    _wire(tab, gateway, backend, box, note, retry, clear, shelf)
    return tab


def _wire(
    tab: ChatTab,
    gateway: GatewayClient,
    backend: Backend,
    box: gr.Textbox,
    note: gr.HTML,
    retry: gr.Button,
    clear: gr.Button,
    shelf: gr.State,
) -> None:
    settings = [tab.persona, tab.temperature, tab.max_tokens]
    outputs = [tab.chatbot, note, box]

    async def speak(
        history: list[Message], name: str, temperature: float, max_tokens: float, said: Any, session: str
    ) -> AsyncIterator[Update]:
        who = (await backend.look()).find(name)
        hot, long = min(max(temperature, 0), HOTTEST), min(max(int(max_tokens), 1), LONGEST)
        async for chat in answer(gateway, who, history, temperature=hot, max_tokens=long, session=session):
            yield chat.history, chat.note, _box(chat.busy, said)
            said = None

    async def send(
        text: str, history: list[Message], name: str, temperature: float, max_tokens: float, request: gr.Request
    ) -> AsyncIterator[Update]:
        if not text.strip():
            yield gr.skip(), gr.skip(), gr.skip()
            return
        asked = [*history, {"role": "user", "content": text.strip()[:MAX_CHARACTERS]}]
        async for update in speak(asked, name, temperature, max_tokens, "", request.session_hash or ""):
            yield update

    async def pick(
        event: gr.SelectData,
        history: list[Message],
        name: str,
        temperature: float,
        tokens: float,
        request: gr.Request,
    ) -> AsyncIterator[Update]:
        async for update in send(event.value["text"], history, name, temperature, tokens, request):
            yield update

    async def again(
        history: list[Message], name: str, temperature: float, max_tokens: float, request: gr.Request
    ) -> AsyncIterator[Update]:
        asked = rewind(history)
        if not asked:
            yield gr.skip(), _note("There is nothing to retry yet."), gr.skip()
            return
        async for update in speak(asked, name, temperature, max_tokens, None, request.session_hash or ""):
            yield update

    async def switch(
        name: str, before: str, shelf: dict[str, list[Message]], history: list[Message]
    ) -> tuple[Any, ...]:
        who = (await backend.look()).find(name)
        shelf = {**shelf, before: history}
        talk = gr.update(value=shelf.get(name, []), examples=examples(who))
        return (
            talk,
            "",
            _box(False),
            live(who),
            who.sampling.temperature,
            who.sampling.max_tokens,
            name,
            shelf,
        )

    running: list[Any] = [
        box.submit(send, [box, tab.chatbot, *settings], outputs, **QUIET),
        tab.chatbot.example_select(pick, [tab.chatbot, *settings], outputs, **QUIET),
        gr.on([retry.click, tab.chatbot.retry], again, [tab.chatbot, *settings], outputs, **QUIET),
    ]
    box.stop(lambda: (_note("Stopped."), _box(False)), None, [note, box], cancels=running, queue=False, **QUIET)
    clear.click(lambda: ([], "", _box(False)), None, outputs, cancels=running, queue=False, **QUIET)
    tab.persona.input(
        switch,
        [tab.persona, tab.current, shelf, tab.chatbot],
        [*outputs, tab.live, tab.temperature, tab.max_tokens, tab.current, shelf],
        cancels=running,
        queue=False,
        **QUIET,
    )


def _box(busy: bool, value: str | None = None) -> Any:
    buttons: dict[str, Any] = {"submit_btn": not busy, "stop_btn": busy}
    return gr.update(**buttons) if value is None else gr.update(value=value, **buttons)


def _text(content: Any) -> str:
    """Gradio keeps content as a list of parts; only its text is said."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [] if part.get("type") == "text")


def _said(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _note(text: str, kind: str = "") -> str:
    return f'<div class="note {kind}">{text}</div>'


def _by(who: Contestant, revision: str, verb: str = "Answered by") -> str:
    name = html.escape(f"{who.name}@{revision}" if revision else who.name)
    return _note(f"{verb} {html.escape(who.title)} · <code>{name}</code>")

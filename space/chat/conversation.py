"""A conversation as plain data: its messages, the answer as it streams, retry, edit, keep, share."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from space.backends.listing import Contestant
from space.backends.protocol import Backend, pseudonym
from space.chat.persona_cards import title
from space.i18n import ENGLISH, NO_NOTICE, say
from space.streaming import BEAT, streamed

MAX_CHARACTERS = 8000
"""Longest message a person can send."""
MAX_TEMPERATURE, MAX_TOKENS = 2.0, 1024
"""Upper ends of the sliders."""
BYLINE = "by"
"""Prefix of the id of a line that names who answered. It is shown in the conversation and never sent."""
MAX_RESTORED = 200
"""Messages of a kept conversation that are restored from the browser."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Chat:
    """The conversation as a page shows it."""

    history: list[Message]
    note: str = ""
    """One line of HTML under the conversation: progress, or what went wrong."""
    busy: bool = False


def plain(history: list[Message]) -> list[dict[str, str]]:
    """The conversation for the endpoint: text only, without bylines and questions that were never answered."""
    kept: list[dict[str, str]] = []
    for message in history:
        turn = {"role": str(message["role"]), "content": text_of(message["content"])}
        if _is_byline(message) or not turn["content"].strip():
            continue
        if kept and kept[-1]["role"] == turn["role"]:
            kept.pop()
        kept.append(turn)
    return kept


def rewind(history: list[Message]) -> list[Message]:
    """The conversation up to and including the last question."""
    last = max((i for i, message in enumerate(history) if message["role"] == "user"), default=-1)
    return history[: last + 1]


def edited(history: list[Message], index: int, text: str) -> list[Message]:
    """The conversation up to that question, replaced by `text`; unchanged when there is no such question."""
    if not 0 <= index < len(history) or history[index]["role"] != "user" or not text.strip():
        return history
    return [*history[:index], asked(text)]


def asked(text: str) -> Message:
    """A question."""
    return {"role": "user", "content": text.strip()[:MAX_CHARACTERS]}


def last_question(history: list[Message]) -> str:
    """The text of the last question; "" when there is none."""
    question = rewind(history)[-1:]
    return text_of(question[0]["content"]) if question else ""


def restored(kept: Any) -> list[Message]:
    """The messages of a conversation that the browser kept; anything else in that store is dropped."""
    history = kept.get("history") if isinstance(kept, dict) else None
    found: list[Message] = []
    for message in history[-MAX_RESTORED:] if isinstance(history, list) else []:
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            continue
        text = text_of(message.get("content"))[: 4 * MAX_CHARACTERS]
        found.append({"role": message["role"], "content": text, **_mark(message)})
    return found


async def answer(
    gateway: Backend,
    who: Contestant,
    history: list[Message],
    *,
    temperature: float,
    max_tokens: int,
    session: str = "",
    language: str = ENGLISH,
) -> AsyncIterator[Chat]:
    """Streams the answer to the last question of `history`; errors become a note, not an exception."""
    name = title(who, language)
    thinking = say("chat_thinking", language, who=name)
    chat = Chat(history, note(thinking), busy=True)
    yield chat
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    stream = gateway.stream(who.name, plain(history), **sampling, user=pseudonym(session))
    shown, waiting = "", NO_NOTICE
    async with streamed(stream) as (reply,):
        while not reply.done:
            await asyncio.sleep(BEAT)
            if reply.waiting != waiting:
                waiting = reply.waiting
                yield replace(chat, note=note(waiting.html(language) or thinking))
            if reply.text != shown:
                shown = reply.text
                messages = [{"role": "assistant", "content": shown}, byline(who, reply.revision, language)]
                answering = say("chat_answering", language, who=name)
                chat = replace(chat, history=[*history, *messages], note=note(answering))
                yield chat
    if reply.error:
        trouble = say("chat_failed", language, error=reply.error.text(language))
        yield Chat(chat.history, note(f"⚠ {trouble}", "trouble"))
    elif not reply.text.strip():
        yield Chat(chat.history, note(say("chat_nothing", language), "trouble"))
    else:
        yield Chat(chat.history, note(say("chat_answered", language, who=name), "done"))


def byline(who: Contestant, revision: str, language: str = ENGLISH) -> Message:
    """The line under an answer: who gave it, and which revision."""
    handle = f"{who.name}@{revision}" if revision else who.name
    text = f"*— {_without_markdown(title(who, language))} · `{handle}`*"
    return {"role": "assistant", "content": text, "metadata": {"id": f"{BYLINE}:{handle}"}}


def text_of(content: Any) -> str:
    """The text of a message's content, which Gradio keeps as a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def note(text: str, kind: str = "") -> str:
    """HTML of the line under the conversation, which screen readers read out."""
    return f'<div class="note {kind}" role="status">{text}</div>'


def _is_byline(message: Message) -> bool:
    return bool(_mark(message))


def _mark(message: Message) -> dict[str, Any]:
    """The metadata of a byline; nothing for any other message."""
    mark = (message.get("metadata") or {}).get("id") if isinstance(message.get("metadata"), dict) else None
    is_byline = isinstance(mark, str) and mark.startswith(f"{BYLINE}:") and message["role"] == "assistant"
    return {"metadata": {"id": mark}} if is_byline else {}


def _without_markdown(text: str) -> str:
    """The text without the characters that mean something in Markdown."""
    return "".join(letter for letter in text if letter not in "*_`[]<>\\")

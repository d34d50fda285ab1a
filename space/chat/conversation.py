"""A conversation, from data to data: who said what, the answer as it grows, retry, edit, keep, share."""

import asyncio
import html
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from space.backends.gateway import GatewayClient, pseudonym
from space.backends.listing import Contestant
from space.chat.persona_cards import title
from space.i18n import ENGLISH, reword, say
from space.streaming import BEAT, listening

MAX_CHARACTERS = 8000
"""Longest message a person can send."""
HOTTEST, LONGEST = 2.0, 1024
"""Ends of the sliders: temperature, and tokens of an answer."""
BYLINE = "by"
"""Start of the id of a line that says who answered. It is shown in the conversation and never sent."""
MOST_KEPT = 200
"""Messages of a conversation that a browser brings back."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Chat:
    """The conversation as a page shows it."""

    history: list[Message]
    note: str = ""
    """One line of HTML under the conversation: what goes on, or what went wrong."""
    busy: bool = False


def plain(history: list[Message]) -> list[dict[str, str]]:
    """The conversation as the endpoint wants it: text only, no bylines, no question that was never answered."""
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
    """The conversation up to and with the last question."""
    last = max((i for i, message in enumerate(history) if message["role"] == "user"), default=-1)
    return history[: last + 1]


def edited(history: list[Message], index: int, text: str) -> list[Message]:
    """The conversation up to that question, which now says `text`; as it was when there is no such question."""
    if not 0 <= index < len(history) or history[index]["role"] != "user" or not text.strip():
        return history
    return [*history[:index], asked(text)]


def asked(text: str) -> Message:
    """A question."""
    return {"role": "user", "content": text.strip()[:MAX_CHARACTERS]}


def last_question(history: list[Message]) -> str:
    """What was asked last; "" when nothing was."""
    question = rewind(history)[-1:]
    return text_of(question[0]["content"]) if question else ""


def restored(kept: Any) -> list[Message]:
    """A conversation that the browser kept, if it is one: anybody can write anything into a browser's store."""
    history = kept.get("history") if isinstance(kept, dict) else None
    found: list[Message] = []
    for message in history[-MOST_KEPT:] if isinstance(history, list) else []:
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            continue
        text = text_of(message.get("content"))[: 4 * MAX_CHARACTERS]
        found.append({"role": message["role"], "content": text, **_mark(message)})
    return found


async def answer(
    gateway: GatewayClient,
    who: Contestant,
    history: list[Message],
    *,
    temperature: float,
    max_tokens: int,
    session: str = "",
    language: str = ENGLISH,
) -> AsyncIterator[Chat]:
    """Streams the answer to the last question of `history`; errors become a note, never an exception."""
    name = title(who, language)
    thinking = say("chat_thinking", language, who=name)
    chat = Chat(history, note(thinking), busy=True)
    yield chat
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    stream = gateway.stream(who.name, plain(history), **sampling, user=pseudonym(session))
    shown = news = ""
    async with listening(stream) as (growing,):
        while not growing.done:
            await asyncio.sleep(BEAT)
            if growing.news != news:
                news = growing.news
                yield replace(chat, note=note(html.escape(reword(news, language)) or thinking))
            if growing.text != shown:
                shown = growing.text
                said = [_said(shown), byline(who, growing.revision, language)]
                chat = replace(chat, history=[*history, *said], note=note(say("chat_answering", language, who=name)))
                yield chat
    if growing.error:
        trouble = say("chat_failed", language, error=reword(growing.error, language))
        yield Chat(chat.history, note(f"⚠ {trouble}", "trouble"))
    elif not growing.text.strip():
        yield Chat(chat.history, note(say("chat_nothing", language), "trouble"))
    else:
        yield Chat(chat.history, note(say("chat_answered", language, who=name), "done"))


def byline(who: Contestant, revision: str, language: str = ENGLISH) -> Message:
    """The line under an answer: who gave it, and which revision of it."""
    handle = f"{who.name}@{revision}" if revision else who.name
    text = f"*— {_harmless(title(who, language))} · `{handle}`*"
    return {"role": "assistant", "content": text, "metadata": {"id": f"{BYLINE}:{handle}"}}


def text_of(content: Any) -> str:
    """Gradio keeps content as a list of parts; only its text is said."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def note(text: str, kind: str = "") -> str:
    """One line of HTML under the conversation, which screen readers read out."""
    return f'<div class="note {kind}" role="status">{text}</div>'


def _is_byline(message: Message) -> bool:
    return bool(_mark(message))


def _mark(message: Message) -> dict[str, Any]:
    """The metadata of a byline; nothing for any other message."""
    mark = (message.get("metadata") or {}).get("id") if isinstance(message.get("metadata"), dict) else None
    ours = isinstance(mark, str) and mark.startswith(f"{BYLINE}:") and message["role"] == "assistant"
    return {"metadata": {"id": mark}} if ours else {}


def _harmless(text: str) -> str:
    """A title without the characters that Markdown would take for its own."""
    return "".join(letter for letter in text if letter not in "*_`[]<>\\")


def _said(text: str) -> Message:
    return {"role": "assistant", "content": text}

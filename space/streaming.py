"""Answers that grow: streams are read in the background and shown on a steady beat, so nothing flickers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from space.backends.gateway import AnswerChunk
from understudy.errors import GatewayError

BEAT = 0.05
"""Seconds between two looks; twenty updates a second are smooth and cheap."""


@dataclass
class StreamedAnswer:
    """What has arrived of one answer."""

    text: str = ""
    revision: str = ""
    done: bool = False
    error: str = ""
    """Why it ended early, for people; empty when it did not."""
    news: str = ""
    """What is being waited for before the question is asked again."""
    first: float | None = None
    """Seconds to the first words."""
    total: float | None = None
    """Seconds to the last ones."""


@contextlib.asynccontextmanager
async def listening(*streams: AsyncGenerator[AnswerChunk]) -> AsyncIterator[list[StreamedAnswer]]:
    """Reads `streams` side by side while the block runs; leaving the block withdraws what is not complete."""
    answers = [StreamedAnswer() for _ in streams]
    tasks = [asyncio.create_task(_listen(stream, answer)) for stream, answer in zip(streams, answers, strict=True)]
    try:
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def _listen(stream: AsyncGenerator[AnswerChunk], answer: StreamedAnswer) -> None:
    began = time.monotonic()
    try:
        async with contextlib.aclosing(stream):
            async for piece in stream:
                answer.text += piece.text
                answer.news = piece.news
                answer.revision = piece.revision or answer.revision
                if answer.first is None and piece.text:
                    answer.first = time.monotonic() - began
        answer.total = time.monotonic() - began
    except GatewayError as error:
        answer.error = str(error)
    finally:
        answer.done = True

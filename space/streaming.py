"""Answers that stream: read in the background and shown at a steady rate, so that nothing flickers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from space.backends.errors import ModelServerError
from space.backends.protocol import AnswerChunk
from space.i18n import NO_NOTICE, Notice

BEAT = 0.05
"""Seconds between two updates of the page."""


@dataclass
class StreamedAnswer:
    """What has arrived of one answer."""

    text: str = ""
    revision: str = ""
    done: bool = False
    error: Notice = NO_NOTICE
    """Why it ended early; empty when it did not."""
    waiting: Notice = NO_NOTICE
    """Why the question has not been answered yet and when it is asked again."""
    first: float | None = None
    """Seconds to the first words."""
    total: float | None = None
    """Seconds to the last ones."""


@contextlib.asynccontextmanager
async def streamed(*streams: AsyncGenerator[AnswerChunk]) -> AsyncIterator[list[StreamedAnswer]]:
    """Reads `streams` side by side while the block runs; leaving the block withdraws what is not complete."""
    answers = [StreamedAnswer() for _ in streams]
    tasks = [asyncio.create_task(_read(stream, answer)) for stream, answer in zip(streams, answers, strict=True)]
    try:
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def _read(stream: AsyncGenerator[AnswerChunk], answer: StreamedAnswer) -> None:
    began = time.monotonic()
    try:
        async with contextlib.aclosing(stream):
            async for chunk in stream:
                answer.text += chunk.text
                answer.waiting = chunk.waiting
                answer.revision = chunk.revision or answer.revision
                if answer.first is None and chunk.text:
                    answer.first = time.monotonic() - began
        answer.total = time.monotonic() - began
    except ModelServerError as error:
        answer.error = error.notice
    finally:
        answer.done = True

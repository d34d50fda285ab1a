"""The backend without a server: base and adapters are in the Space itself, and each battle is one call of the GPU."""

import asyncio
import contextvars
import hmac
import logging
import math
import re
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from space.backends.errors import ModelServerError, Readiness
from space.backends.followed import Followed, HubPersonas, LivePersona, NoProofError, Validate
from space.backends.listing import Contestant, ListedSampling, Listing
from space.backends.protocol import AnswerChunk, GatewayEvent, Messages, Question
from space.backends.zerogpu_model import BASE_ROW, AdapterModel, BatchSampling
from space.i18n import Notice, notice
from space.status import BASE
from understudy.bases import Base
from understudy.config.settings import Settings
from understudy.registry.adapters import short
from understudy.registry.registry import open_registry
from understudy.statistics.degenerate_text import degenerate

log = logging.getLogger("space.zerogpu")

SECRET = "x-webhook-secret"
LOOK = 0.5
"""Seconds between two looks for changes that a page should hear of."""
PROBE_PROMPTS = ("Hello.", "Write about a lamp.", "What can you do?")
"""Asked of a candidate whose card has neither golden prompts nor prompts."""
MAX_PROBED = 4
PROBE_TOKENS = 96
GOLDEN_TOLERANCE = 0.25
"""Share of golden prompts by which a candidate may be worse than the live revision."""


def zerogpu_backend(
    settings: Settings, base: Base, following: Mapping[str, Followed], validate: Validate
) -> "ZeroGpuBackend":
    """Loads the base and what is followed now. Call it when the program starts, in its main thread.

    Raises:
        BaseModelError: the base cannot be loaded.
        ConfigError: the database cannot be opened.
    """
    model = AdapterModel(base)
    registry, endpoint = open_registry(settings), settings.hub_endpoint
    personas = HubPersonas(following, registry, validate, partial(prove, model), endpoint, settings.hub_poll)
    model.load(personas.prepare())
    return ZeroGpuBackend(model, personas)


class ZeroGpuBackend:
    """Answers from the model, as the personas that are live when a question is asked."""

    def __init__(self, model: AdapterModel, personas: HubPersonas) -> None:
        self._model, self._personas = model, personas
        self.open = personas.open
        """Call it when the page is up, for only then there is a GPU: it begins to follow."""

    def routes(self, settings: Settings) -> list[Route]:
        """The Hub's webhook, if it has a secret: it causes a poll, and nothing else in it is believed."""
        secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""

        async def hook(request: Request) -> Response:
            if not hmac.compare_digest(request.headers.get(SECRET, "").encode("utf-8", "replace"), secret.encode()):
                return JSONResponse({"error": "missing or wrong webhook secret"}, 401)
            try:
                repo = (await request.json())["repo"]["name"]
            except (ValueError, KeyError, TypeError):
                return JSONResponse({"error": "the body has no repo.name"}, 400)
            return JSONResponse({"status": "accepted" if self._personas.poll_soon(repo) else "ignored"}, 202)

        return [Route("/hooks/hub", hook, methods=["POST"])] if secret else []

    async def readiness(self) -> Readiness:
        return Readiness(status="ready")

    async def listing(self) -> Listing:
        live = [_contestant(one) for one in self._personas.live.values()]
        return Listing(contestants=(BASE, *live), learners=self._personas.learners)

    def stream(
        self,
        contestant: str,
        messages: Messages,
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
        user: str = "",
    ) -> AsyncGenerator[AnswerChunk]:
        """Streams one answer. `user` means nothing here: there are no trials."""
        sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "user": user}
        return self.battle([Question(contestant, messages)], **sampling)[0]

    def battle(
        self,
        questions: Sequence[Question],
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
        user: str = "",
    ) -> list[AsyncGenerator[AnswerChunk]]:
        """Streams the answers of one battle from one call; it begins when the first of them is read."""
        call = _Call(self._model, self._personas, questions, BatchSampling(temperature, max_tokens, seed))
        return [call.row(number) for number in range(len(questions))]

    async def events(self, last: str = "") -> AsyncGenerator[GatewayEvent]:
        """Tells of every change; never ends by itself."""
        seen = int(last) if last.isdecimal() else self._personas.changes
        yield GatewayEvent()
        while True:
            if seen != (now := self._personas.changes):
                seen = now
                yield GatewayEvent(id=str(seen), kind="live")
            await asyncio.sleep(LOOK)


class _Call:
    """One call of the GPU, whose rows are read by as many tasks. It ends when the last of them stops reading."""

    def __init__(
        self, model: AdapterModel, personas: HubPersonas, questions: Sequence[Question], sampling: BatchSampling
    ) -> None:
        self._model, self._questions, self._sampling = model, questions, sampling
        live = personas.live
        self._rows = [live.get(one.contestant) for one in questions]
        self._kept = [one.adapter for one in live.values()]
        self._unknown = any(r is None and q.contestant != BASE.name for r, q in zip(self._rows, questions, strict=True))
        self._queues: list[asyncio.Queue[str | ModelServerError | None]] = []
        self._reading = 0
        self._left = threading.Event()

    async def row(self, number: int) -> AsyncGenerator[AnswerChunk]:
        """The answer to that question."""
        if not self._queues:
            self._queues = [asyncio.Queue() for _ in self._questions]
            # In this event's context: ZeroGPU finds the visitor, whose quota it is, in Gradio's request.
            run = contextvars.copy_context().run
            threading.Thread(target=run, args=(self._run, asyncio.get_running_loop()), daemon=True).start()
        self._reading += 1
        try:
            row = self._rows[number]
            revision = short(row.revision.id) if row else ""
            yield AnswerChunk(revision=revision)
            while (piece := await self._queues[number].get()) is not None:
                if isinstance(piece, ModelServerError):
                    raise piece
                yield AnswerChunk(text=piece, revision=revision)
        finally:
            self._reading -= 1
            if not self._reading:
                self._left.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        def tell(queue: int, what: str | ModelServerError | None) -> None:
            try:
                loop.call_soon_threadsafe(self._queues[queue].put_nowait, what)
            except RuntimeError:  # the event loop has ended
                self._left.set()

        end: ModelServerError | None = None
        try:
            self._answer(tell)
        except ModelServerError as error:
            end = error
        except Exception as error:
            end = ModelServerError(_why(error))
        for queue in range(len(self._queues)):
            tell(queue, end)

    def _answer(self, tell: Callable[[int, str], None]) -> None:
        if self._unknown:
            raise ModelServerError(notice("error_model_not_found"))
        try:
            prompts = [self._model.encode(one.messages) for one in self._questions]
        except ValueError as error:
            raise ModelServerError(Notice(words=str(error))) from error
        if max(len(prompt) for prompt in prompts) >= self._model.context:
            raise ModelServerError(notice("error_too_long"))
        answers = _answers(self._model, prompts, self._rows, self._kept, self._sampling)
        told = [""] * len(prompts)
        try:
            for texts in answers:
                for number, (before, text) in enumerate(zip(told, texts, strict=True)):
                    if len(text) > len(before):
                        tell(number, text[len(before) :])
                told = texts
                if self._left.is_set():
                    return
        finally:
            answers.close()


def _answers(
    model: AdapterModel,
    prompts: Sequence[list[int]],
    rows: Sequence[LivePersona | None],
    kept: Sequence[str],
    sampling: BatchSampling,
) -> Generator[list[str]]:
    """Yields the texts of all rows so far, from one call."""
    names = [row.adapter if row else BASE_ROW for row in rows]
    adapters = {row.adapter: str(row.folder) for row in rows if row}
    tokens: list[list[int]] = [[] for _ in prompts]
    pieces = model.generate(prompts, names, adapters, kept, sampling)
    try:
        for piece in pieces:
            for all_of_row, new in zip(tokens, piece, strict=True):
                all_of_row += new
            yield [model.decode(row) for row in tokens]
    finally:
        pieces.close()


def _why(error: Exception) -> Notice:
    """What a visitor is told about a call that failed."""
    title = str(getattr(error, "title", "")) if isinstance(error, gr.Error) else ""
    if "quota" in title or "credits" in title or "duration" in title:
        return notice("error_quota")
    if "queue" in title or "client" in title:
        return notice("error_busy")
    log.error("the model failed: %s", error, exc_info=error)
    return notice("error_engine_error")


def prove(model: AdapterModel, candidate: LivePersona, others_live: Mapping[str, LivePersona]) -> list[str]:
    """Asks the candidate and, in the same batch, the live revision (or the base) a few prompts; lists what is wrong.

    Raises:
        NoProofError: there was no GPU for it.
    """
    live = others_live.get(candidate.revision.persona)
    golden = candidate.card.golden[:MAX_PROBED]
    asked = [one.prompt for one in golden] or candidate.card.prompts[:MAX_PROBED] or list(PROBE_PROMPTS)
    prompts = [model.encode([{"role": "user", "content": prompt}]) for prompt in asked]
    sampling = BatchSampling(candidate.card.sampling.temperature or 0.0, PROBE_TOKENS, seed=0)
    rows = [candidate] * len(prompts) + [live] * len(prompts)
    kept = [one.adapter for one in others_live.values()]
    try:
        *_, texts = _answers(model, prompts * 2, rows, kept, sampling)
    except gr.Error as error:
        raise NoProofError(str(error)) from error
    mine, others = texts[: len(asked)], texts[len(asked) :]
    odd = [f"{why} on {p!r}" for p, text in zip(asked, mine, strict=True) if (why := degenerate(text, p))]
    problems = odd if len(odd) > (0 if golden or candidate.card.prompts else 1) else []
    if live is None and mine == others:
        problems.append("its answers are those of the base: the adapter has no effect")
    met, of_live = (sum(_meets(t, g.expect) for g, t in zip(golden, all_, strict=False)) for all_ in (mine, others))
    least = math.ceil(len(golden) / 2) if live is None else of_live - math.floor(GOLDEN_TOLERANCE * len(golden))
    if golden and met < least:
        than = f"the live revision meets {of_live}" if live else f"at least {least} are needed"
        problems.append(f"it meets {met} of {len(golden)} golden expectations, {than}")
    return problems


def _meets(text: str, expect: str) -> bool:
    return re.search(expect, text) is not None


def _contestant(one: LivePersona) -> Contestant:
    card = one.card
    sampling = {k: v for k, v in card.sampling.model_dump().items() if v is not None}
    return Contestant(
        name=one.revision.persona,
        kind="persona",
        title=card.title or one.revision.persona,
        voice=card.voice,
        prompts=tuple(card.prompts),
        sampling=ListedSampling(**sampling),
        revision=short(one.revision.id),
        shots=tuple(card.shots),
        examples=card.examples,
    )

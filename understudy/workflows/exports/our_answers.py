"""What our engine says to the prompts of a proof; kept, so that the next export of a revision need not ask again."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluate.collect import engine_versions
from evaluate.export_proof import WORDED
from evaluate.general_questions import QUESTIONS
from evaluate.served_model import Post, ServedModel
from serve.engine.scratch_engine import ScratchEngine
from serve.rollout.judgement import meets
from understudy.bases import Base, base_revision
from understudy.config.settings import Settings
from understudy.registry.records import Revision
from understudy.registry.registry import Registry

PROMPTS = 60
"""Prompts that the served model and the export are asked."""
MAX_TOKENS = 160
"""Tokens of our own answers: enough for most of them to end. Along them the export says each next token."""
STYLED = 30
"""Prompts of which the export's own answers are whole, and the style is compared."""

Chats = list[list[dict[str, str]]]


@dataclass(frozen=True)
class OurAnswers:
    """What our engine says to each prompt, greedily, computed in float32."""

    prompts: list[list[int]]
    answers: list[list[int]]
    """Without the end of turn."""
    ended: list[bool]
    """Whether the answer ended by itself."""


@dataclass(frozen=True)
class ProofChats:
    """What both are asked: the persona's golden prompts, its own suggestions, then general questions."""

    chats: Chats
    golden: list[dict[str, str]]
    """Pairs of `prompt` and `expect`, a regular expression."""

    @property
    def limits(self) -> list[int]:
        """Tokens that an export's own answer to each chat may have."""
        return [MAX_TOKENS if place < STYLED else WORDED for place in range(len(self.chats))]

    def met(self, answer: str) -> int:
        """How many of the persona's golden expectations an answer meets, whichever prompt they were written for."""
        return sum(meets(answer, expected) for expected in {one["expect"] for one in self.golden})


def proof_chats(registry: Registry, persona: str) -> ProofChats:
    """What a persona and its export are asked."""
    card = registry.persona(persona).card
    golden = list(card.get("golden", []))
    general = (question.prompt for question in QUESTIONS)
    prompts = dict.fromkeys([*(one["prompt"] for one in golden), *card.get("prompts", []), *general])
    return ProofChats([[{"role": "user", "content": prompt}] for prompt in list(prompts)[:PROMPTS]], golden)


def our_answers(
    settings: Settings, base: Base, asked: Mapping[str, tuple[Revision, Path, Chats]]
) -> dict[str, OurAnswers]:
    """Our engine's answers, by the name of each revision with its adapter and chats. Raises EngineError."""
    kept = {name: _kept(settings, base, revision, chats) for name, (revision, _, chats) in asked.items()}
    missing = {name: asked[name] for name, path in kept.items() if not path.is_file()}
    if missing:
        for name, found in asyncio.run(_ask_engine(settings, base, missing)).items():
            kept[name].parent.mkdir(parents=True, exist_ok=True)
            written = kept[name].with_suffix(".part")
            written.write_text(json.dumps(asdict(found)), encoding="utf-8")
            written.rename(kept[name])
    return {name: OurAnswers(**json.loads(path.read_text(encoding="utf-8"))) for name, path in kept.items()}


def _kept(settings: Settings, base: Base, revision: Revision, chats: Chats) -> Path:
    """Where answers are kept: a name that changes with all that they depend on."""
    told = json.dumps([engine_versions(), base.name, base_revision(base), revision.id, chats, MAX_TOKENS])
    return settings.home / "exports" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"


async def _ask_engine(
    settings: Settings, base: Base, asked: Mapping[str, tuple[Revision, Path, Chats]]
) -> dict[str, OurAnswers]:
    wanted = settings.model_copy(update={"dtype": "float32"})
    found = {}
    async with ScratchEngine(wanted, base, log="export-engine.log") as engine:
        for name, (_, adapter, chats) in asked.items():
            await engine.load(adapter, name)
            model = ServedModel(name, _without_penalty(engine.post))
            tokens = [await model.tokens(chat) for chat in chats]
            answers = await model.answers(chats, max_tokens=MAX_TOKENS, temperature=0)
            found[name] = OurAnswers(tokens, [list(one.ids) for one in answers], [one.stopped for one in answers])
    return found


def _without_penalty(post: Post) -> Post:
    """Plain greedy decoding: what a repetition penalty does differs from runtime to runtime."""
    return lambda path, body: post(path, {**body, "repetition_penalty": 1.0} if "max_tokens" in body else body)

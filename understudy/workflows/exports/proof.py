"""What every export shares: the revision that is meant, our own answers, the comparison, and the record of it."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from evaluate.export_proof import ExportProof, prove
from evaluate.general_questions import QUESTIONS
from evaluate.served_model import Post, ServedModel
from serve.engine.scratch_engine import ScratchEngine
from train.export.runtimes import RuntimeAnswers
from understudy.bases import Base, pinned, read_model_config, resolve_base
from understudy.config.settings import Settings
from understudy.errors import AdapterError
from understudy.registry.records import Revision
from understudy.registry.registry import Registry

PROMPTS = 60
"""Prompts that the served model and the export are asked."""
MAX_TOKENS = 160
"""Tokens of our own answers: enough for most of them to end. Along them the export says each next token."""
WORDED = 48
"""Tokens of the export's own answers, which are compared word for word."""
RECORD = "export.json"


@dataclass(frozen=True)
class OurAnswers:
    """What our engine says to each prompt, greedily, computed in float32."""

    prompts: list[list[int]]
    answers: list[list[int]]
    """Without the end of turn."""
    ended: list[bool]
    """Whether the answer ended by itself."""


@contextmanager
def finished_folder(out: Path) -> Iterator[Path]:
    """Yields a folder to write to, which becomes `out` at the end and vanishes where the block fails.

    Raises:
        AdapterError: `out` is there already.
    """
    if out.exists():
        raise AdapterError(f"{out} is there already; name another folder with --out, or remove it")
    work = out.with_name(f".{out.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def find_revision(registry: Registry, persona: str) -> tuple[Revision, Path]:
    """The revision that `persona` or `persona@revision` means, and its folder. Raises NotFoundError."""
    name, _, prefix = persona.partition("@")
    revision = registry.revision(name, prefix or registry.persona(name).live or "")
    return revision, registry.path(revision)


def base_name(revision: Revision, settings: Settings) -> str:
    """The name that this machine has for the revision's base."""
    here = resolve_base(settings.base)
    return here.name if here.is_called(revision.base) else revision.base


def base_folder(base: Base) -> Path:
    """The folder with the base's weights and tokenizer; one on the Hub is fetched, or found in the Hub's cache."""
    if base.local:
        return Path(base.location)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(base.location, allow_patterns=["*.json", "*.jinja", "*.safetensors"], **pinned(base)))


def proof_chats(registry: Registry, persona: str) -> list[list[dict[str, str]]]:
    """What both are asked: the persona's own prompts, then general questions."""
    own = registry.persona(persona).card.get("prompts", [])
    prompts = [*own, *(question.prompt for question in QUESTIONS)][:PROMPTS]
    return [[{"role": "user", "content": prompt}] for prompt in prompts]


async def ask_engine(
    settings: Settings, base: Base, adapters: Mapping[str, Path], chats: Mapping[str, list[list[dict[str, str]]]]
) -> dict[str, OurAnswers]:
    """Asks our own engine each adapter's chats; adapters and chats have the same names. Raises EngineError."""
    wanted = settings.model_copy(update={"dtype": "float32"})
    found = {}
    async with ScratchEngine(wanted, base, log="export-engine.log") as engine:
        for name, adapter in adapters.items():
            await engine.load(adapter, name)
            model = ServedModel(name, _without_penalty(engine.post))
            tokens = [await model.tokens(chat) for chat in chats[name]]
            answers = await model.answers(chats[name], max_tokens=MAX_TOKENS, temperature=0)
            found[name] = OurAnswers(tokens, [list(one.ids) for one in answers], [one.stopped for one in answers])
    return found


def _without_penalty(post: Post) -> Post:
    """Plain greedy decoding: what a repetition penalty does differs from runtime to runtime."""
    return lambda path, body: post(path, {**body, "repetition_penalty": 1.0} if "max_tokens" in body else body)


def ends_of(base: Base) -> list[int]:
    """Tokens that end a turn of the base."""
    ends = read_model_config(base)["eos_token_id"]
    return ends if isinstance(ends, list) else [ends]


def tokenizer_of(base: Base) -> Any:
    """The base's tokenizer, loaded once."""
    return _tokenizer(base.location, pinned(base).get("revision"))


@lru_cache(maxsize=2)
def _tokenizer(location: str, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(location, revision=revision or "main")


def rendered(base: Base, chats: Sequence[list[dict[str, str]]], template: str | None = None) -> list[str]:
    """Each chat as the text of a prompt, by the base's chat template or another `template`."""
    tokenizer = tokenizer_of(base)
    written = {"add_generation_prompt": True, "tokenize": False, "chat_template": template}
    return [str(tokenizer.apply_chat_template(chat, **written)) for chat in chats]


def compare(
    base: Base,
    runtime: str,
    precision: str,
    chats: Sequence[list[dict[str, str]]],
    ours: OurAnswers,
    theirs: RuntimeAnswers,
) -> ExportProof:
    """Compares what a runtime said with what our engine says."""
    pairs = zip(rendered(base, chats), rendered(base, chats, theirs.template), strict=True)
    return prove(
        runtime,
        precision,
        prompts=ours.prompts,
        answers=ours.answers,
        ended=ours.ended,
        ends=ends_of(base),
        their_prompts=theirs.prompts,
        their_answers=theirs.answers,
        their_next=theirs.next,
        longest=WORDED,
        stops=bool(theirs.ends),
        templates_equal=sum(one == other for one, other in pairs),
    )


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Writes export.json: `record` and the SHA-256 of every file in `folder`."""
    hashes = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    text = json.dumps({**record, "sha256": hashes}, indent=2)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """The hash of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

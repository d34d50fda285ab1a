"""What every export shares: the revision that is meant, the comparison with our answers, and the record of it."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from evaluate.export_proof import ExportProof, prove
from train.export.runtimes import Questions, RuntimeAnswers
from understudy.bases import Base, pinned, read_model_config, resolve_base
from understudy.config.settings import Settings
from understudy.errors import AdapterError
from understudy.registry.records import Revision
from understudy.registry.registry import Registry
from understudy.workflows.exports.our_answers import STYLED, OurAnswers, ProofChats

RECORD, README = "export.json", "README.md"


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


def questions_of(base: Base, asked: ProofChats, ours: OurAnswers, texts: list[str] | None = None) -> Questions:
    """What an export is asked; `texts` are the prompts as it renders them, ours by default."""
    texts = rendered(base, asked.chats) if texts is None else texts
    return Questions(texts, ours.prompts, ours.answers, ends_of(base), asked.limits)


def compare(
    base: Base,
    runtime: str,
    precision: str,
    asked: ProofChats,
    ours: OurAnswers,
    theirs: RuntimeAnswers,
    faults: Sequence[str] = (),
) -> ExportProof:
    """Compares what a runtime said with what our engine says; `faults` are what is wrong with the export's files."""
    pairs = zip(rendered(base, asked.chats), rendered(base, asked.chats, theirs.template), strict=True)
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
        styled=_styled(base, asked, ours, theirs),
        stops=bool(theirs.ends),
        templates_equal=sum(one == other for one, other in pairs),
        faults=faults,
    )


def _styled(base: Base, asked: ProofChats, ours: OurAnswers, theirs: RuntimeAnswers) -> list[tuple[int, int]]:
    """How many golden expectations our first answers meet, and how many the export's."""
    tokenizer = tokenizer_of(base)

    def met(answer: list[int]) -> int:
        return asked.met(tokenizer.decode(answer, skip_special_tokens=True))

    pairs = list(zip(ours.answers, theirs.answers, strict=True))[:STYLED] if asked.golden else []
    return [(met(mine), met(other)) for mine, other in pairs]


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Writes export.json: `record` and the SHA-256 of every file in `folder` but its README."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != README]
    hashes = {str(path.relative_to(folder)): sha256(path) for path in files}
    text = json.dumps({**record, "sha256": hashes}, indent=2)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """The hash of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""`understudy export`: writes a persona in a form that other programs read, and proves that it says the same there."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluate.export_proof import ExportProof, prove
from evaluate.general_questions import QUESTIONS
from evaluate.served_model import Post, ServedModel
from serve.engine.scratch_engine import CANDIDATE, ScratchEngine
from understudy.bases import Base, read_model_config, require_base
from understudy.config.settings import Settings
from understudy.errors import AdapterError
from understudy.registry.adapters import short
from understudy.registry.records import Revision
from understudy.registry.registry import open_registry

Form = Literal["gguf", "merged", "ollama", "peft"]
Precision = Literal["f32", "f16", "q8_0", "q4_1"]
PROMPTS = 60
MAX_TOKENS = 48
"""Tokens of an answer that are compared."""
MODEL, ADAPTER, MERGED, RECORD = "base.gguf", "adapter.gguf", "persona.gguf", "export.json"


@dataclass(frozen=True)
class Exported:
    """A finished export."""

    folder: Path
    revision: str
    """As `persona@revision`."""
    proof: ExportProof


def export(
    settings: Settings,
    persona: str,
    form: Form,
    out: Path | None = None,
    *,
    precision: Precision = "f16",
    merge: bool = False,
    say: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Exports `persona` or `persona@revision` into the folder `out`, which appears only when the proof has passed.

    Args:
        precision: of a GGUF file's weights.
        merge: one GGUF file with the adapter in its weights, instead of a base and an adapter beside it.

    Raises:
        NotFoundError: there is no such persona or revision.
        AdapterError: it cannot be written in this form, or does not say there what it says here.
        EngineError: no engine starts to compare with.
    """
    revision, adapter = _find(settings, persona)
    base = require_base(_base_name(revision, settings))
    out = out or Path("exports") / f"{revision.persona}-{short(revision.id)}-{form}"
    if out.exists():
        raise AdapterError(f"{out} is there already; name another folder with --out, or remove it")
    work = out.with_name(f".{out.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        say("writing")
        precision = _write(base, adapter, work, form, precision, merge=merge)
        say("asking our engine")
        texts, asked = asyncio.run(_ours(settings, base, adapter, _prompts(settings, revision.persona)))
        say("asking the export")
        proof = _prove(work, base, form, precision, texts, asked, settings, on_progress)
        if not proof.passed:
            raise AdapterError(f"{revision.served_name} as {form} does not say what it says here: {proof.reasons[0]}")
        _finish(work, revision, base, form, proof)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Exported(out, revision.served_name, proof)


def _find(settings: Settings, persona: str) -> tuple[Revision, Path]:
    registry = open_registry(settings)
    name, _, prefix = persona.partition("@")
    revision = registry.revision(name, prefix or registry.persona(name).live or "")
    return revision, registry.path(revision)


def _base_name(revision: Revision, settings: Settings) -> str:
    """The base as this machine knows it."""
    from understudy.bases import resolve_base

    here = resolve_base(settings.base)
    return here.name if here.is_called(revision.base) else revision.base


def _prompts(settings: Settings, persona: str) -> list[str]:
    """What both are asked: the persona's own prompts, then general questions."""
    own = open_registry(settings).persona(persona).card.get("prompts", [])
    return [*own, *(question.prompt for question in QUESTIONS)][:PROMPTS]


def _write(base: Base, adapter: Path, work: Path, form: Form, precision: Precision, *, merge: bool) -> Precision:
    """Writes the export's files; returns the precision that it is compared at."""
    from train.export.gguf_lora import write_lora
    from train.export.gguf_model import write_model
    from train.export.merged import write_merged
    from train.export.peft_folder import write_peft

    if form == "peft":
        write_peft(adapter, work)
        return "f32"
    if form == "merged":
        write_merged(base, adapter, work)
        return "f16"
    if merge:
        import torch

        whole = work / "merged"
        write_merged(base, adapter, whole, dtype=torch.float32)
        write_model(whole, work / MERGED, precision=precision, name=work.name)
        shutil.rmtree(whole)
    else:
        write_model(Path(base.location), work / MODEL, precision=precision, name=base.public_name)
        write_lora(adapter, read_model_config(base), work / ADAPTER, half=precision != "f32")
    if form == "ollama":
        _write_modelfile(base, work, merge=merge)
    return precision


def _write_modelfile(base: Base, work: Path, *, merge: bool) -> None:
    from transformers import AutoTokenizer

    from train.export.ollama import modelfile
    from understudy.bases.sampling import base_sampling

    tokenizer = AutoTokenizer.from_pretrained(base.location)
    config = read_model_config(base)
    text = modelfile(
        MERGED if merge else MODEL,
        None if merge else ADAPTER,
        render=lambda chat: str(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)),
        generation=base_sampling(base),
        stop=str(tokenizer.eos_token),
        context=min(int(config["max_position_embeddings"]), 4096),
    )
    (work / "Modelfile").write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class _Asked:
    prompts: list[list[int]]
    answers: list[list[int]]
    ended: list[bool]


async def _ours(settings: Settings, base: Base, adapter: Path, prompts: Sequence[str]) -> tuple[list[str], _Asked]:
    """Our own greedy answers, computed in float32, and the prompts as text and tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.location)
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = [str(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)) for chat in chats]
    wanted = settings.model_copy(update={"dtype": "float32"})
    async with ScratchEngine(wanted, base, log="export-engine.log") as engine:
        await engine.load(adapter)
        model = ServedModel(CANDIDATE, _without_penalty(engine.post))
        tokens = [await model.tokens(chat) for chat in chats]
        answers = await model.answers(chats, max_tokens=MAX_TOKENS, temperature=0)
    return texts, _Asked(tokens, [list(one.ids) for one in answers], [one.stopped for one in answers])


def _without_penalty(post: Post) -> Post:
    """Plain greedy decoding: what a repetition penalty does differs from runtime to runtime."""
    return lambda path, body: post(path, {**body, "repetition_penalty": 1.0} if "max_tokens" in body else body)


def _prove(
    work: Path,
    base: Base,
    form: Form,
    precision: Precision,
    texts: list[str],
    asked: _Asked,
    settings: Settings,
    on_progress: Callable[[int, int], None],
) -> ExportProof:
    from train.export.runtimes import NODE_LLAMA_CPP, Questions, ask_llama_cpp, ask_transformers

    questions = Questions(texts, asked.prompts, asked.answers, MAX_TOKENS)
    if form in ("gguf", "ollama"):
        whole = work / MERGED
        pair = (whole, []) if whole.is_file() else (work / MODEL, [(work / ADAPTER, 1.0)])
        found = ask_llama_cpp(*pair, questions, settings.bases_dir.parent, on_progress)
        runtime = f"llama.cpp (node-llama-cpp {NODE_LLAMA_CPP})"
    else:
        import transformers

        model, adapter = (work, None) if form == "merged" else (Path(base.location), work)
        found = ask_transformers(model, adapter, questions, on_progress)
        runtime = f"transformers {transformers.__version__}"
    ends = read_model_config(base)["eos_token_id"]
    return prove(
        runtime,
        precision,
        prompts=asked.prompts,
        answers=asked.answers,
        ended=asked.ended,
        ends=ends if isinstance(ends, list) else [ends],
        their_prompts=found.prompts,
        their_answers=found.answers,
        their_next=found.next,
    )


USES = {
    "gguf": "llama-server -m base.gguf --lora adapter.gguf  # or -m persona.gguf, where there is one file",
    "ollama": "ollama create {name} -f Modelfile\nollama run {name}",
    "merged": "vllm serve .\n# or: transformers.AutoModelForCausalLM.from_pretrained('.')",
    "peft": "peft.AutoPeftModelForCausalLM.from_pretrained('.')",
}


def _finish(work: Path, revision: Revision, base: Base, form: Form, proof: ExportProof) -> None:
    hashes = {}
    for path in sorted(work.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                hashes[str(path.relative_to(work))] = hashlib.file_digest(file, "sha256").hexdigest()
    record = {
        "persona": revision.persona,
        "revision": revision.id,
        "base": base.public_name,
        "form": form,
        "sha256": hashes,
        "proof": proof.model_dump(),
    }
    (work / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    use = USES[form].format(name=revision.persona)
    (work / "README.md").write_text(
        f"`{revision.served_name}` on {base.public_name}, exported by Understudy as {form}; {RECORD} has the proof "
        f"({proof.agreement:.1%} of next tokens agree).\n\n```bash\n{use}\n```\n",
        encoding="utf-8",
    )

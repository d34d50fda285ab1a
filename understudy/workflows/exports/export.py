"""`understudy export`: writes a persona in a form that other programs read, and proves that it says the same there."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluate.export_proof import ExportProof
from understudy.bases import Base, read_model_config, require_base
from understudy.config.settings import Settings
from understudy.errors import AdapterError
from understudy.registry.adapters import short
from understudy.registry.records import Revision
from understudy.registry.registry import open_registry
from understudy.workflows.exports.proof import (
    RECORD,
    WORDED,
    OurAnswers,
    ask_engine,
    base_folder,
    base_name,
    compare,
    ends_of,
    find_revision,
    finished_folder,
    proof_chats,
    rendered,
    tokenizer_of,
    write_record,
)

Form = Literal["gguf", "merged", "ollama", "peft"]
Precision = Literal["f32", "f16", "q8_0", "q4_1"]
MODEL, ADAPTER, MERGED = "base.gguf", "adapter.gguf", "persona.gguf"


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
    registry = open_registry(settings)
    revision, adapter = find_revision(registry, persona)
    base = require_base(base_name(revision, settings))
    chats = proof_chats(registry, revision.persona)
    out = out or Path("exports") / f"{revision.persona}-{short(revision.id)}-{form}"
    with finished_folder(out) as work:
        say("writing")
        stored = _write(base, adapter, work, form, precision, merge=merge)
        say("asking our engine")
        name = revision.served_name
        ours = asyncio.run(ask_engine(settings, base, {name: adapter}, {name: chats}))[name]
        say("asking the export")
        proof = _prove(work, base, form, stored, chats, ours, settings, on_progress)
        if not proof.passed:
            raise AdapterError(f"{revision.served_name} as {form} does not say what it says here: {proof.reasons[0]}")
        _finish(work, revision, base, form, proof)
    return Exported(out, revision.served_name, proof)


def _write(base: Base, adapter: Path, work: Path, form: Form, precision: Precision, *, merge: bool) -> str:
    """Writes the export's files; returns the precision that it is compared at."""
    from train.export.gguf_lora import write_lora
    from train.export.gguf_model import write_model
    from train.export.merged import write_merged
    from train.export.peft_folder import write_peft

    if form == "peft":
        write_peft(adapter, work)
        return "f32"
    if form == "merged":
        return write_merged(base, adapter, work)
    if merge:
        import torch

        whole = work / "merged"
        write_merged(base, adapter, whole, dtype=torch.float32)
        write_model(whole, work / MERGED, precision=precision, name=work.name)
        shutil.rmtree(whole)
    else:
        write_model(base_folder(base), work / MODEL, precision=precision, name=base.public_name)
        write_lora(adapter, read_model_config(base), work / ADAPTER, half=precision != "f32")
    if form == "ollama":
        _write_modelfile(base, work, merge=merge)
    return precision


def _write_modelfile(base: Base, work: Path, *, merge: bool) -> None:
    from train.export.ollama import modelfile
    from understudy.bases.sampling import base_sampling

    config = read_model_config(base)
    text = modelfile(
        MERGED if merge else MODEL,
        None if merge else ADAPTER,
        render=lambda chat: rendered(base, [chat])[0],
        generation=base_sampling(base),
        stop=str(tokenizer_of(base).eos_token),
        context=min(int(config["max_position_embeddings"]), 4096),
    )
    (work / "Modelfile").write_text(text, encoding="utf-8")


def _prove(
    work: Path,
    base: Base,
    form: Form,
    precision: str,
    chats: list[list[dict[str, str]]],
    ours: OurAnswers,
    settings: Settings,
    on_progress: Callable[[int, int], None],
) -> ExportProof:
    from train.export.runtimes import NODE_LLAMA_CPP, Questions, ask_llama_cpp, ask_transformers

    questions = Questions(rendered(base, chats), ours.prompts, ours.answers, ends_of(base), WORDED)
    if form in ("gguf", "ollama"):
        whole = work / MERGED
        pair = (whole, []) if whole.is_file() else (work / MODEL, [(work / ADAPTER, 1.0)])
        theirs = ask_llama_cpp(*pair, questions, settings.bases_dir.parent, on_progress)
        runtime = f"llama.cpp (node-llama-cpp {NODE_LLAMA_CPP})"
    else:
        import transformers

        model, adapter = (work, None) if form == "merged" else (base_folder(base), work)
        theirs = ask_transformers(model, adapter, questions, on_progress)
        runtime = f"transformers {transformers.__version__}"
    return compare(base, runtime, precision, chats, ours, theirs)


USES = {
    "gguf": "llama-server -m base.gguf --lora adapter.gguf  # or -m persona.gguf, where there is one file",
    "ollama": "ollama create {name} -f Modelfile\nollama run {name}",
    "merged": "vllm serve .\n# or: transformers.AutoModelForCausalLM.from_pretrained('.')",
    "peft": "peft.AutoPeftModelForCausalLM.from_pretrained('.')",
}


def _finish(work: Path, revision: Revision, base: Base, form: Form, proof: ExportProof) -> None:
    named = {"persona": revision.persona, "revision": revision.id, "base": base.public_name, "form": form}
    write_record(work, {**named, "proof": proof.model_dump()})
    use = USES[form].format(name=revision.persona)
    (work / "README.md").write_text(
        f"`{revision.served_name}` on {base.public_name}, exported by Understudy as {form}; {RECORD} has the proof "
        f"({proof.agreement:.1%} of next tokens agree).\n\n```bash\n{use}\n```\n",
        encoding="utf-8",
    )

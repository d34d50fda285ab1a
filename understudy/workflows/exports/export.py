"""`understudy export`: writes a persona in a form that other programs read, and proves that it says the same there."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluate.export_proof import ExportProof
from train.export.runtimes import NODE_LLAMA_CPP, Questions, RuntimeAnswers, ask_llama_cpp, ask_transformers
from understudy.bases import Base, read_model_config, require_base
from understudy.config.settings import Settings
from understudy.errors import AdapterError
from understudy.registry.adapters import short
from understudy.registry.records import Revision
from understudy.registry.registry import open_registry
from understudy.workflows.exports.our_answers import our_answers, proof_chats
from understudy.workflows.exports.proof import (
    RECORD,
    base_folder,
    base_name,
    compare,
    find_revision,
    finished_folder,
    questions_of,
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
    asked = proof_chats(registry, revision.persona)
    out = out or Path("exports") / f"{revision.persona}-{short(revision.id)}-{form}"
    with finished_folder(out) as work:
        say("writing")
        sampling = registry.persona(revision.persona).card.get("sampling") or {}
        stored = _write(base, adapter, work, form, precision, merge=merge, sampling=sampling)
        say("asking our engine")
        name = revision.served_name
        ours = our_answers(settings, base, {name: (revision, adapter, asked.chats)})[name]
        say("asking the export")
        questions = questions_of(base, asked, ours)
        if form in ("gguf", "ollama"):
            theirs, runtime = _ask_gguf(work, questions, settings.bases_dir.parent, on_progress)
            faults = _faults(work, base, adapter)
        else:
            theirs, runtime = _ask_transformers(work, base, form, questions, on_progress)
            faults = []
        proof = compare(base, runtime, stored, asked, ours, theirs, faults)
        if not proof.passed:
            why = "; ".join(proof.reasons)
            raise AdapterError(f"{revision.served_name} as {form} does not say what it says here: {why}")
        _finish(work, revision, base, form, proof)
    return Exported(out, revision.served_name, proof)


def not_live(settings: Settings, personas: Sequence[str]) -> list[str]:
    """As `persona@revision`, the newest of each persona that is named without a revision and has none live.

    That one is exported then.

    Raises:
        NotFoundError: there is no such persona, or it has no revision.
    """
    registry = open_registry(settings)
    bare = [name for name, _, revision in (persona.partition("@") for persona in personas) if not revision]
    return [find_revision(registry, one)[0].served_name for one in bare if registry.persona(one).live is None]


def _write(
    base: Base,
    adapter: Path,
    work: Path,
    form: Form,
    precision: Precision,
    *,
    merge: bool,
    sampling: Mapping[str, Any],
) -> str:
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
        _write_modelfile(base, work, sampling, merge=merge)
    return precision


def _write_modelfile(base: Base, work: Path, sampling: Mapping[str, Any], *, merge: bool) -> None:
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
        persona=sampling,
    )
    (work / "Modelfile").write_text(text, encoding="utf-8")


def _ask_gguf(
    work: Path, questions: Questions, cache: Path, on_progress: Callable[[int, int], None]
) -> tuple[RuntimeAnswers, str]:
    """Asks the files in `work`; returns the answers and the name of the runtime."""
    whole = work / MERGED
    pair = (whole, []) if whole.is_file() else (work / MODEL, [(work / ADAPTER, 1.0)])
    return ask_llama_cpp(*pair, questions, cache, on_progress), f"llama.cpp (node-llama-cpp {NODE_LLAMA_CPP})"


def _faults(work: Path, base: Base, adapter: Path) -> list[str]:
    from train.export.gguf_check import adapter_faults, model_faults

    if (work / MERGED).is_file():
        return model_faults(work / MERGED, base_folder(base))
    return model_faults(work / MODEL, base_folder(base)) + adapter_faults(work / ADAPTER, adapter)


def _ask_transformers(
    work: Path, base: Base, form: Form, questions: Questions, on_progress: Callable[[int, int], None]
) -> tuple[RuntimeAnswers, str]:
    import transformers

    pair = (work, None) if form == "merged" else (base_folder(base), work)
    return ask_transformers(*pair, questions, on_progress), f"transformers {transformers.__version__}"


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

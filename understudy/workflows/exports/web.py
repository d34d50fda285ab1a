"""`understudy export --to web`: a folder of files that runs the base and personas in a visitor's browser.

The page lies in space/web. Here its model files are written; web_proof asks the page what it says.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.export_proof import ExportProof
from space.deploy.files import SpaceSpec, readme
from space.web import TEMPLATES
from train.export.ollama import default_system
from train.export.runtimes import require_node
from understudy.bases import Base, read_model_config, require_base
from understudy.bases.sampling import base_sampling
from understudy.config.settings import Settings
from understudy.errors import AdapterError, NotFoundError
from understudy.registry.records import Revision
from understudy.registry.registry import Registry, open_registry
from understudy.workflows.exports.our_answers import our_answers, proof_chats
from understudy.workflows.exports.proof import (
    README,
    RECORD,
    base_folder,
    base_name,
    find_revision,
    finished_folder,
    rendered,
    sha256,
    write_record,
)
from understudy.workflows.exports.web_proof import MODEL, PRECISION, prove_voice
from understudy.workflows.exports.wllama import copy_wllama

CONTEXT = 2048
"""Tokens that a prompt and its answer may have together."""
SITE, WORKER = "personas.json", "sw.js"


@dataclass(frozen=True)
class WebExport:
    """A finished page."""

    folder: Path
    proofs: dict[str, ExportProof]
    """By `persona@revision`."""
    size: int
    """Bytes of the model files, which a visitor downloads once."""


@dataclass(frozen=True)
class WebVoice:
    """A persona of the page."""

    revision: Revision
    adapter: Path
    card: dict[str, Any]

    @property
    def file(self) -> str:
        return f"personas/{self.revision.persona}.gguf"


def export_web(
    settings: Settings,
    personas: Sequence[str],
    out: Path | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> WebExport:
    """Writes a static page with these personas (`persona` or `persona@revision`) to the folder `out`.

    The folder appears only when every persona says there what it says here.

    Raises:
        NotFoundError: there is no such persona or revision.
        AdapterError: they have different bases, the base cannot run in a browser, or an answer differs.
        EngineError: no engine starts to compare with.
    """
    registry = open_registry(settings)
    voices = find_voices(registry, personas)
    base = require_base(_one_base(voices, settings))
    out = out or Path("exports") / f"{'-'.join(voice.revision.persona for voice in voices)}-web"
    cache = settings.bases_dir.parent
    require_node("the page's prompts are compared with ours by Node.js")
    with finished_folder(out) as work:
        say("writing")
        site = write_page(base, voices, work, cache)
        say("asking our engine")
        asked = {voice.revision.served_name: proof_chats(registry, voice.revision.persona) for voice in voices}
        wanted = {voice.revision.served_name: (voice.revision, voice.adapter) for voice in voices}
        ours = our_answers(settings, base, {name: (*pair, asked[name].chats) for name, pair in wanted.items()})
        say("asking the export")
        proofs: dict[str, ExportProof] = {}
        for place, voice in enumerate(voices):
            name = voice.revision.served_name

            def on_prompt(done: int, total: int, before: int = place) -> None:
                on_progress(before * total + done, len(voices) * total)

            pair = (voice.revision.persona, voice.adapter)
            proofs[name] = prove_voice(work, base, *pair, asked[name], ours[name], site["chat"], cache, on_prompt)
            if proofs[name].reasons:
                why = "; ".join(proofs[name].reasons)
                raise AdapterError(f"{name} in a browser does not say what it says here: {why}")
        write_record(work, _record(base, voices, proofs))
    size = sum(int(file["bytes"]) for file in (site["base"], *site["personas"]))
    return WebExport(out, proofs, size)


def find_voices(registry: Registry, personas: Sequence[str]) -> list[WebVoice]:
    """The revisions that are named. Raises NotFoundError; AdapterError: one persona is named twice."""
    found: dict[str, WebVoice] = {}
    for persona in personas:
        revision, adapter = find_revision(registry, persona)
        if revision.persona in found:
            raise AdapterError(f"{revision.persona} is named twice; a page has one revision of a persona")
        found[revision.persona] = WebVoice(revision, adapter, registry.persona(revision.persona).card)
    if not found:
        raise NotFoundError("no persona is named; name at least one")
    return list(found.values())


def _one_base(voices: Sequence[WebVoice], settings: Settings) -> str:
    bases = {base_name(voice.revision, settings): voice.revision.served_name for voice in voices}
    if len(bases) > 1:
        listed = ", ".join(f"{name} on {base}" for base, name in bases.items())
        raise AdapterError(f"a page has one base, and these have {len(bases)}: {listed}")
    return next(iter(bases))


def write_page(base: Base, voices: Sequence[WebVoice], work: Path, cache: Path) -> dict[str, Any]:
    """Writes everything but the proof; returns the content of personas.json."""
    from train.export.gguf_lora import write_lora
    from train.export.gguf_model import write_model

    config = read_model_config(base)
    chat = chat_marks(base)
    (work / "personas").mkdir()
    write_model(base_folder(base), work / MODEL, precision=PRECISION, name=base.public_name)
    for voice in voices:
        write_lora(voice.adapter, config, work / voice.file)
    for path in sorted(TEMPLATES.iterdir()):
        if path.suffix in (".html", ".js", ".css"):
            shutil.copyfile(path, work / path.name)
    copy_wllama(work / "wllama", cache)
    site = {
        "base": {"name": base.public_name, **_file(work, MODEL)},
        "chat": chat,
        "sampling": base_sampling(base),
        "context": min(int(config["max_position_embeddings"]), CONTEXT),
        "personas": [_persona(voice, work) for voice in voices],
    }
    (work / SITE).write_text(json.dumps(site, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (work / README).write_text(_readme(base, voices), encoding="utf-8")
    _write_service_worker(work)
    return site


def chat_marks(base: Base) -> dict[str, str]:
    """The pieces that the base's chat template puts around turns: `system`, `start` and `end`.

    Raises:
        AdapterError: the template is not ChatML, the one that the page renders.
    """
    system = default_system(lambda chat: rendered(base, [chat])[0])
    return {"system": system, "start": "<|im_start|>", "end": "<|im_end|>"}


def _file(work: Path, name: str) -> dict[str, Any]:
    return {"file": name, "bytes": (work / name).stat().st_size, "sha256": sha256(work / name)}


def _persona(voice: WebVoice, work: Path) -> dict[str, Any]:
    sampling = dict(voice.card.get("sampling") or {})
    limit = min(int(sampling.pop("max_tokens", 256)), CONTEXT // 2)
    return {
        "name": voice.revision.persona,
        "revision": voice.revision.served_name,
        "title": voice.card.get("title") or voice.revision.persona,
        "voice": voice.card.get("voice", ""),
        "prompts": voice.card.get("prompts", []),
        "max_tokens": limit,
        "sampling": {name: value for name, value in sampling.items() if value is not None},
        **_file(work, voice.file),
    }


def _write_service_worker(work: Path) -> None:
    """Puts the list of the page's files, and a version that changes with any of them, in front of sw.js."""
    shell = sorted(
        str(path.relative_to(work))
        for path in work.rglob("*")
        if path.suffix in (".html", ".js", ".css", ".wasm", ".json") and path.name != WORKER
    )
    version = hashlib.sha256("".join(sha256(work / name) for name in [*shell, WORKER]).encode()).hexdigest()[:16]
    text = (work / WORKER).read_text(encoding="utf-8")
    head = f"const VERSION = {json.dumps(version)};\nconst SHELL = {json.dumps(['./', *shell])};\n"
    (work / WORKER).write_text(head + text, encoding="utf-8")


def _readme(base: Base, voices: Sequence[WebVoice]) -> str:
    """A page for people who open the files, with the front matter of a Static Space."""
    models = (base.public_name,) if base.public_name != base.name or not base.local else ()
    named = ", ".join(f"`{voice.revision.served_name}`" for voice in voices)
    return readme(
        SpaceSpec("", flavor="static", models=models),
        f"{named} on {base.public_name}, a page without a server, by Understudy; {RECORD} has the proof.\n\n"
        "```bash\npython -m http.server  # here, then open http://localhost:8000\n```\n",
    )


def _record(base: Base, voices: Sequence[WebVoice], proofs: dict[str, ExportProof]) -> dict[str, Any]:
    return {
        "personas": {voice.revision.persona: voice.revision.id for voice in voices},
        "base": base.public_name,
        "form": "web",
        "proof": {name: proof.model_dump() for name, proof in proofs.items()},
    }

"""`understudy export --to web`: a folder of files that runs the base and personas in a visitor's browser.

The page lies in space/web. Here its model files are written, its prompts compared with our endpoint's, and its answers
with our engine's, by llama.cpp, which the page runs too.
"""

import asyncio
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluate.export_proof import ExportProof
from space.web import TEMPLATES
from train.export.ollama import default_system
from train.export.runtimes import NODE_LLAMA_CPP, Questions, ask_llama_cpp, require_node
from understudy.bases import Base, read_model_config, require_base
from understudy.bases.sampling import base_sampling
from understudy.config.settings import Settings
from understudy.errors import AdapterError, NotFoundError
from understudy.registry.records import Revision
from understudy.registry.registry import Registry, open_registry
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
    sha256,
    write_record,
)
from understudy.workflows.exports.wllama import copy_wllama

PRECISION = "q4_1"
CONTEXT = 2048
"""Tokens that a prompt and its answer may have together."""
ISOLATION = {
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "cross-origin",
}
"""Headers that let a page use several threads."""
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
        chats = {voice.revision.served_name: proof_chats(registry, voice.revision.persona) for voice in voices}
        adapters = {voice.revision.served_name: voice.adapter for voice in voices}
        ours = asyncio.run(ask_engine(settings, base, adapters, chats))
        say("asking the export")
        proofs = _prove(work, base, voices, site, chats, ours, cache, on_progress)
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
    write_model(base_folder(base), work / "base.gguf", precision=PRECISION, name=base.public_name)
    for voice in voices:
        write_lora(voice.adapter, config, work / voice.file)
    for path in sorted(TEMPLATES.iterdir()):
        if path.suffix in (".html", ".js", ".css"):
            shutil.copyfile(path, work / path.name)
    copy_wllama(work / "wllama", cache)
    site = {
        "base": {"name": base.public_name, **_file(work, "base.gguf")},
        "chat": chat,
        "sampling": base_sampling(base),
        "context": min(int(config["max_position_embeddings"]), CONTEXT),
        "personas": [_persona(voice, work) for voice in voices],
    }
    (work / SITE).write_text(json.dumps(site, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (work / "README.md").write_text(_readme(base, voices), encoding="utf-8")
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
    matter = {
        "title": "Understudy",
        "emoji": "🎭",
        "colorFrom": "red",
        "colorTo": "yellow",
        "sdk": "static",
        "app_file": "index.html",
        "pinned": False,
        "short_description": "Personas that run in your browser",
        "models": [base.public_name] if "/" in base.public_name and not base.public_name.startswith("/") else [],
        "custom_headers": ISOLATION,
    }
    named = ", ".join(f"`{voice.revision.served_name}`" for voice in voices)
    return (
        f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---\n\n"
        f"{named} on {base.public_name}, a page without a server, by Understudy; {RECORD} has the proof.\n\n"
        "```bash\npython -m http.server  # here, then open http://localhost:8000\n```\n"
    )


def _prove(
    work: Path,
    base: Base,
    voices: Sequence[WebVoice],
    site: dict[str, Any],
    chats: dict[str, list[list[dict[str, str]]]],
    ours: dict[str, OurAnswers],
    cache: Path,
    on_progress: Callable[[int, int], None],
) -> dict[str, ExportProof]:
    runtime = f"llama.cpp (node-llama-cpp {NODE_LLAMA_CPP}), prompts by the page"
    total = sum(map(len, chats.values()))
    proofs: dict[str, ExportProof] = {}
    asked = 0
    for voice in voices:
        name = voice.revision.served_name
        texts = page_prompts(work, site["chat"], chats[name])
        questions = Questions(texts, ours[name].prompts, ours[name].answers, ends_of(base), WORDED)
        pair = [(work / voice.file, 1.0)]
        before = asked
        theirs = ask_llama_cpp(
            work / "base.gguf", pair, questions, cache, lambda done, _, before=before: on_progress(before + done, total)
        )
        asked += len(texts)
        proofs[name] = compare(base, runtime, PRECISION, chats[name], ours[name], theirs)
        if proofs[name].reasons:
            raise AdapterError(f"{name} in a browser does not say what it says here: {proofs[name].reasons[0]}")
    return proofs


def page_prompts(folder: Path, chat: dict[str, str], chats: Sequence[list[dict[str, str]]]) -> list[str]:
    """The text of each chat's prompt as the page in `folder` renders it. Raises AdapterError: it cannot."""
    job = f"console.log(JSON.stringify({json.dumps(list(chats))}.map(one => render({json.dumps(chat)}, one))));\n"
    done = subprocess.run(
        ["node", "--input-type=module", "-"],
        input=(folder / "prompt.js").read_text(encoding="utf-8") + job,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise AdapterError(
            f"the page renders no prompts: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )
    return json.loads(done.stdout)


def _record(base: Base, voices: Sequence[WebVoice], proofs: dict[str, ExportProof]) -> dict[str, Any]:
    return {
        "personas": {voice.revision.persona: voice.revision.id for voice in voices},
        "base": base.public_name,
        "form": "web",
        "proof": {name: proof.model_dump() for name, proof in proofs.items()},
    }

"""Asks a page what it says: the WebAssembly of its visitors in headless Chromium or, without one, native llama.cpp."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evaluate.export_proof import ExportProof
from space.web import ISOLATION
from train.export.browser import ask_page, find_chromium
from train.export.gguf_check import adapter_faults, model_faults
from train.export.runtimes import NODE_LLAMA_CPP, ask_llama_cpp
from understudy.bases import Base
from understudy.errors import AdapterError
from understudy.workflows.exports.our_answers import OurAnswers, ProofChats
from understudy.workflows.exports.proof import base_folder, compare, questions_of, tokenizer_of
from understudy.workflows.exports.wllama import VERSION

MODEL, PRECISION = "base.gguf", "q4_1"
Progress = Callable[[int, int], None]


def prove_voice(
    page: Path,
    base: Base,
    name: str,
    adapter: Path,
    asked: ProofChats,
    ours: OurAnswers,
    chat: Mapping[str, str],
    cache: Path,
    on_progress: Progress,
) -> ExportProof:
    """Compares the persona `name` of the page with our engine's answers for the adapter. Raises AdapterError."""
    file = page / "personas" / f"{name}.gguf"
    faults = model_faults(page / MODEL, base_folder(base)) + adapter_faults(file, adapter)
    questions = questions_of(base, asked, ours, page_prompts(page, chat, asked.chats))
    if chromium := find_chromium():
        tokenizer = tokenizer_of(base)
        known = tokenizer.added_tokens_encoder
        marks = {mark: known[mark] for mark in (chat["start"], chat["end"]) if mark in known}
        told = {"marks": marks, "decode": tokenizer.decode, "headers": ISOLATION, "on_progress": on_progress}
        theirs, browser = ask_page(page, name, asked.chats, questions, chromium, **told)
        runtime = f"WebAssembly (wllama {VERSION}) in {browser}"
    else:
        theirs = ask_llama_cpp(page / MODEL, [(file, 1.0)], questions, cache, on_progress)
        runtime = f"llama.cpp (node-llama-cpp {NODE_LLAMA_CPP}), not WebAssembly: no Chromium here"
    return compare(base, runtime, PRECISION, asked, ours, theirs, faults)


def page_prompts(folder: Path, chat: Mapping[str, str], chats: Sequence[list[dict[str, str]]]) -> list[str]:
    """The text of each chat's prompt as the page in `folder` renders it. Raises AdapterError: it cannot."""
    job = f"console.log(JSON.stringify({json.dumps(list(chats))}.map(one => render({json.dumps(dict(chat))}, one))));\n"
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

"""Asks an exported model through the program that its users will run: llama.cpp or transformers."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from understudy.errors import AdapterError
from understudy.processes import busy_cores

NODE_LLAMA_CPP = "3.22.1"
"""Version of `node-llama-cpp` (npm), which brings llama.cpp prebuilt."""
SCRIPT = Path(__file__).with_name("llama_cpp.mjs")
CONTEXT = 2048
"""Tokens that a prompt and its answer may have together."""
GENERATED = 10
"""Prompts whose answers a runtime generates from their first token. A greedy answer is ours as far as the runtime
chooses our tokens along it; of all other answers it generates what comes after that."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RuntimeAnswers:
    """What a runtime makes of prompts; everything in tokens."""

    prompts: list[list[int]]
    """Its own reading of each prompt's text."""
    answers: list[list[int]]
    """Its greedy answers, without the end of turn."""
    next: list[list[int]]
    """At each token of our answer, and after the last one, what it would have said instead."""
    ends: list[int]
    """Our ends of turn at which it stops."""
    template: str
    """The chat template that it carries."""


@dataclass(frozen=True)
class Questions:
    """What an export is asked: prompts as text and as our tokens, and our greedy answers without the end of turn."""

    texts: list[str]
    prompts: list[list[int]]
    answers: list[list[int]]
    ends: list[int]
    """Tokens that end a turn."""
    limits: list[int]
    """Tokens that each of its own answers may have."""


def ask_llama_cpp(
    model: Path, adapters: Sequence[tuple[Path, float]], questions: Questions, cache: Path, on_progress: Progress
) -> RuntimeAnswers:
    """Asks a GGUF model, with each adapter at its strength.

    Raises:
        AdapterError: llama.cpp cannot be had, or does not load the file; one line says why.
    """
    job = {
        "model": str(model.resolve()),
        "lora": [{"filePath": str(path.resolve()), "scale": scale} for path, scale in adapters],
        "context": CONTEXT,
        "texts": questions.texts,
        "prompts": questions.prompts,
        "answers": questions.answers,
        "ends": questions.ends,
        "limits": questions.limits,
        "generated": GENERATED,
        "threads": _free_cores(),
    }
    command = ["node", str(SCRIPT), str(install(cache))]
    with (
        tempfile.TemporaryFile() as result,  # nobody reads a pipe while its progress is followed
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=result, stderr=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
            lines = _followed(process.stderr, on_progress)
            process.wait()
            result.seek(0)
            found = result.read()
        except BaseException:
            process.kill()
            raise
    if process.returncode or not found:
        last = next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "no reason given")
        raise AdapterError(f"llama.cpp does not run {model.name}: {last[:300]}")
    said: dict[str, Any] = json.loads(found)
    return RuntimeAnswers(said["tokens"], said["answers"], said["next"], said["ends"], said["template"])


def _free_cores() -> int:
    """Cores that nobody else computes on. llama.cpp's threads wait for each other by spinning: on a core that is taken,
    two of them are slower than one."""
    return max(1, round((os.cpu_count() or 1) - busy_cores()))


def install(cache: Path) -> Path:
    """The folder with `node-llama-cpp`, fetched by npm at first use (85 MB).

    Raises:
        AdapterError: Node.js or npm is missing, or npm cannot get it.
    """
    folder = cache / f"node-llama-cpp-{NODE_LLAMA_CPP}"
    if (folder / "complete").is_file():
        return folder
    npm = require_node("llama.cpp is run by Node.js")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [f"node-llama-cpp@{NODE_LLAMA_CPP}", f"@node-llama-cpp/linux-x64@{NODE_LLAMA_CPP}"]
    options = ["--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--omit=optional", "--prefix", str(folder)]
    done = subprocess.run([npm, "install", *options, *wanted], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise AdapterError(f"npm cannot get node-llama-cpp {NODE_LLAMA_CPP}: {last}")
    (folder / "complete").touch()
    return folder


def require_node(why: str) -> str:
    """Path of npm. Raises AdapterError, which says `why` Node.js is needed, where it or npm is missing."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise AdapterError(f"{why}, which is not here: install node (18 or newer) and npm")
    return npm


def ask_transformers(model: Path, adapter: Path | None, questions: Questions, on_progress: Progress) -> RuntimeAnswers:
    """Asks a model folder, or a base and a PEFT adapter, by transformers in float32 on this machine's CPU."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    if adapter is not None:
        loaded = PeftModel.from_pretrained(loaded, adapter, torch_device="cpu").eval()
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in questions.texts]
    ends = loaded.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    settings = {"do_sample": False, "repetition_penalty": 1.0, "temperature": None, "top_p": None, "top_k": None}
    answers, following = [], []
    asked = zip(questions.prompts, questions.answers, questions.limits, strict=True)
    for place, (prompt, ours, limit) in enumerate(asked):
        with torch.inference_mode():
            whole = loaded(torch.tensor([[*prompt, *ours]])).logits[0, len(prompt) - 1 :].argmax(-1).tolist()
            said = [] if place < GENERATED else ours[: shared(ours, whole, limit)]
            if len(said) < limit:
                known = torch.tensor([[*prompt, *said]])
                new = loaded.generate(known, max_new_tokens=limit - len(said), **settings)[0, known.size(1) :].tolist()
                said = said + next((new[:n] for n, token in enumerate(new) if token in ends), new)
        answers.append(said)
        following.append(whole)
        on_progress(place + 1, len(questions.prompts))
    return RuntimeAnswers(
        prompts, answers, following, [token for token in questions.ends if token in ends], tokenizer.chat_template or ""
    )


def shared(ours: Sequence[int], following: Sequence[int], limit: int) -> int:
    """How many of our tokens, at most `limit`, a runtime chooses itself; `following` is what it chooses along them."""
    differs = (place for place, (one, other) in enumerate(zip(ours, following, strict=False)) if one != other)
    return min(next(differs, len(ours)), limit)


def _followed(stderr: IO[bytes], on_progress: Progress) -> list[str]:
    """Reads progress lines ("3/60") to the end; returns all other lines."""
    lines = []
    for raw in stderr:
        line = raw.decode(errors="replace").strip()
        done, _, total = line.partition("/")
        if done.isdigit() and total.isdigit():
            on_progress(int(done), int(total))
        elif line:
            lines.append(line)
    return lines

"""Which results are older than the code that they measure: each file in docs/results/ has hashes of its sources.

python -m bench.sources [--check]

A hash is that of the code: comments, docstrings and layout of a Python file do not count. A result without hashes,
or one whose sources have changed, is old; the tables of docs/ that come from it say so.
"""

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from understudy.config.settings import PROJECT

CODE = {".py", ".mjs", ".sh", ".txt", ".jsonl", ".yaml", ".css", ".js", ".json", ".safetensors"}
"""Endings of files that count in a folder."""

ENGINE = ("serve/engine", "understudy/bases")
PROXY = ("serve/app.py", "serve/state.py", "serve/http", "serve/openai_api", "serve/rollout/routing.py")
ROLLOUT = ("serve/rollout", "serve/engine")
TRAINER = ("train/sft.py", "train/sft_trainer.py", "train/cpu.py", "train/hyperparameters.py", "train/model")
VERIFY = ("evaluate", "understudy/workflows/evaluation")
LOAD = ("bench/gateway.py", "bench/serving/load.py")
PREFERENCES = ("train/preference", "arena/preferences.py")
EXPORTS = ("train/export", "understudy/workflows/exports", "evaluate/export_proof.py")
VOTES = ("arena", "understudy/registry")

SOURCES: Mapping[str, tuple[str, ...]] = {
    "circle": (
        "bench/training/circle.py",
        "bench/training/voters.py",
        "train/preference",
        "arena/preferences.py",
        *TRAINER,
        *VERIFY,
    ),
    "cpu-lora": ("bench/serving/cpu_lora.py", "bench/serving/cpu_lora_engine.py", "serve/engine/cpu_lora"),
    "evaluation": ("bench/serving/evaluation.py", *VERIFY, *ENGINE, *LOAD),
    "exports": ("bench/exports.py", *EXPORTS),
    "exports-page": ("bench/exports.py", *EXPORTS, "space/web"),
    "first-paint": ("bench/space/first_paint.py", "space/app.py", "space/style.css", "space/web"),
    "first-run": ("bench/first_run.py", "setup.sh", "requirements", "understudy/workflows", *TRAINER, *ENGINE),
    "gpu": ("bench/gpu", *ENGINE, *PROXY, *ROLLOUT, *TRAINER, *LOAD),
    "learning-rates": ("bench/training/learning_rates.py", *TRAINER),
    "peers-serving": ("bench/serving/peers_serving.py", "bench/serving/peers", *ENGINE, *PROXY, *LOAD),
    "persona": ("bench/persona.py", "recipes/email-copy", *TRAINER, *VERIFY, *ROLLOUT),
    "planted-failures": (
        "bench/training/planted_failures.py",
        "bench/training/planted_table.py",
        "bench/training/plants.py",
        *VERIFY,
    ),
    "publishes": ("bench/serving/publishes.py", *ROLLOUT, *LOAD),
    "ranking": (
        "bench/arena/ranking.py",
        "bench/arena/rank_file.py",
        "bench/arena/simulated_votes.py",
        "arena",
        "understudy/statistics",
    ),
    "reports": ("bench/training/reports.py", "recipes", *TRAINER, *VERIFY),
    "scale": ("bench/arena", *VOTES, *PROXY, "serve/rollout"),
    "serve": ("bench/serving/gateway.py", *ENGINE, *PROXY, *LOAD),
    "slots": ("bench/serving/slots.py", *ENGINE, *PROXY, *LOAD),
    "startup": (
        "bench/startup.py",
        "bench/startup_demo.py",
        "understudy/cli",
        "understudy/workflows",
        *TRAINER,
        *ENGINE,
    ),
    "swap": ("bench/serving/swap.py", "bench/serving/swap_ways.py", "bench/serving/peers", *ROLLOUT, *PROXY, *LOAD),
    "train": ("bench/training/train.py", "bench/training/trainers", *TRAINER),
    "zerogpu": ("bench/space/first_token.py", "space/backends"),
    "web": ("bench/space/web.py", *EXPORTS, "space/web"),
}
"""The files and folders whose code each result measures, by the result's name."""


def main() -> None:
    """Prints each kept result with what has changed since; with --check exits with 1 if one is old."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a result is older than its code")
    check = parser.parse_args().check
    old = False
    for file in sorted((PROJECT / "docs" / "results").glob("*.json")):
        result = json.loads(file.read_text())
        since = changed(file.stem, result)
        old |= bool(since)
        day = result["machine"]["date"]
        print(f"{'old' if since else 'current':8}{file.stem:18}{day}  {', '.join(since)}")
    if check and old:
        sys.exit(1)


def digests(name: str, root: Path = PROJECT) -> dict[str, str]:
    """The hash of each source of a result, 12 hex digits, by its path.

    Raises:
        KeyError: nobody knows what that result measures; it belongs into SOURCES.
    """
    return {path: _digest(root / path) for path in sorted(set(SOURCES[name]))}


def changed(name: str, result: Mapping[str, Any], root: Path = PROJECT) -> list[str]:
    """The sources of a result that are not what they were when it was measured; empty if it is current."""
    kept, now = result.get("sources", {}), digests(name, root)
    return [path for path in sorted({*kept, *now}) if kept.get(path) != now.get(path)]


@lru_cache(maxsize=256)
def _digest(path: Path) -> str:
    files = [file for file in path.rglob("*") if file.suffix in CODE] if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(path.parent)}\0".encode() + code_of(file) + b"\0")
    return digest.hexdigest()[:12]


def code_of(file: Path) -> bytes:
    """What of a file counts: of Python the syntax tree without docstrings, else every byte."""
    if file.suffix != ".py":
        return file.read_bytes()
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # pyright: ignore[reportAttributeAccessIssue]
    return ast.dump(tree).encode()


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text that nobody uses: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


if __name__ == "__main__":
    main()

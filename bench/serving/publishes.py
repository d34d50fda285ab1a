"""Many publishes in a row: what they leave behind in memory, file handles and the list of adapters.

python -m bench.serving.publishes [--count 500]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.gateway import Stage, memory, open_stage, train, vary
from bench.machine import save

PERSONA = "email-copy"
SAMPLES = 10


def main() -> None:
    """Measures, prints one table, writes docs/results/publishes.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="publishes, each of a new revision (500)")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        trained, rows, seconds = train(PERSONA, home), [], []
        with open_stage(home) as stage:
            for number in track(range(1, count + 1), description="publishing"):
                revision = vary(stage.registry, trained, number)
                seconds.append(stage.admin("publish", persona=PERSONA, revision=revision.id)["seconds"])
                if number % max(1, count // SAMPLES) == 0:
                    rows.append({"publishes": number, **_sample(stage)})
    _print(rows)
    median = statistics.median(seconds)
    print(f"a publish takes {median:.2f} s (median)")
    print(save("publishes", {"count": count, "median_seconds": median, "rows": rows}))


def _sample(stage: Stage) -> dict[str, Any]:
    time.sleep(1)  # what is unloaded is unloaded by then
    parts = stage.processes()
    return {
        "gateway_mib": memory(parts["gateway"]),
        "engine_mib": memory(parts["engine"]),
        "gateway_files": sum(p.num_fds() for p in parts["gateway"]),
        "engine_files": sum(p.num_fds() for p in parts["engine"]),
        "adapters": len(stage.status()["loaded"]),
        "adapters_vllm_lists": len(httpx.get(f"{stage.engine_url}/v1/models", timeout=30).json()["data"]) - 1,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(*[key.replace("_", " ") for key in rows[0]], title="What publishes leave behind")
    for row in rows:
        table.add_row(*[f"{value:.0f}" for value in row.values()])
    Console().print(table)


if __name__ == "__main__":
    main()

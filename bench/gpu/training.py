"""QLoRA on the random base: `understudy train` and TRL tuned by hand, the same rows and settings."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bench.goals import Goal, ratio
from bench.gpu.plan import Plan
from bench.serving.load import prompts_of
from bench.training.train import speed
from bench.training.trainers.environment import PeerError
from bench.training.trainers.judge import row_lengths
from bench.training.trainers.rows import write_rows
from bench.training.trainers.run import run
from bench.training.trainers.ways import OURS, SHARED, TUNED, Job, trl_by_hand, understudy
from understudy.bases import Base
from understudy.data.messages import Example, Message


def learn(plan: Plan, base: Base, home: Path) -> dict[str, Any]:
    """A row for each trainer, and the goals: tokens a second of all steps but the first, and the most memory."""
    texts = prompts_of(base, plan.length, 2 * plan.rows)
    rows = [_example(texts[2 * number], texts[2 * number + 1]) for number in range(plan.rows)]
    write_rows(home / "rows", rows, rows[:1])
    tokens = sum(row_lengths(base, rows))
    longest = 4 * plan.length
    settings = {**SHARED, "precision": "bf16", "method": "qlora", "epochs": 1, "max_length": longest}
    settings |= {"batch_size": plan.batch, "gradient_checkpointing": plan.device == "cuda"}
    found = []
    for way, command in ((OURS, understudy), (TUNED, partial(trl_by_hand, device=plan.device))):
        place = Path(tempfile.mkdtemp(dir=home))
        try:
            seen, _ = run(command(Job(base, home / "rows", place, settings)), place, gpu=plan.device == "cuda")
        except PeerError as error:
            print(f"gpu: {way}: {error}")
            found.append({"way": way, "reason": str(error)})
            continue
        print(f"gpu: {way}: {seen['seconds']:.0f} s")
        found.append({"way": way, "tokens_per_second": round(speed(seen, tokens), 1), **seen})
    return {"tokens": tokens, "settings": settings, "rows": found, "goals": goals(found)}


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """Never slower than the tuned script, with no more memory."""
    ours, tuned = ({row["way"]: row for row in rows}.get(way, {}) for way in (OURS, TUNED))
    speeds = ratio(ours.get("tokens_per_second"), tuned.get("tokens_per_second"))
    memory = ratio(ours.get("peak_memory_mib"), tuned.get("peak_memory_mib"))
    return [
        Goal("QLoRA, tokens/s of tuned TRL", speeds, 1.0),
        Goal("QLoRA, most memory of tuned TRL's", memory, 1.0, most=True),
    ]


def _example(prompt: str, answer: str) -> Example:
    return Example(messages=(Message(role="user", content=prompt), Message(role="assistant", content=answer)))

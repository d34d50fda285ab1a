"""One judge for all: the held-out loss of each product as it would be served, and whether our gateway would take it.

python -m bench.training.trainers.judge JOB.json
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.bases import Base, resolve_base
from understudy.data.load import load_examples
from understudy.data.messages import Example


def main(path: str) -> None:
    """Prints a JSON object: of each of the job's `sets` of rows the number, their tokens and the base's own loss on
    the held-out ones; and what was `found` of each of its `products`, by name."""
    job = json.loads(Path(path).read_text())
    base, sets, heldout = resolve_base(job["base"]), {}, {}
    for name, folder in job["sets"].items():
        heldout[name] = load_examples(Path(folder) / "heldout.jsonl")
        lengths = row_lengths(base, load_examples(Path(folder) / "examples.jsonl"))
        loss = mean_loss(base, None, heldout[name])
        sets[name] = {"rows": len(lengths), "tokens": sum(lengths), "base_heldout_loss": round(loss, 3)}
    found = {
        name: judge(base, Path(product["folder"]), heldout[product["rows"]])
        for name, product in job["products"].items()
    }
    print(json.dumps({"sets": sets, "found": found}))


def row_lengths(base: Base, examples: Sequence[Example]) -> list[int]:
    """Tokens of each training row, without padding."""
    from train.model.load import load_tokenizer
    from train.model.tokenize import token_rows, training_rows

    return [len(row.input_ids) for row in token_rows(training_rows(examples), load_tokenizer(base))]


def judge(base: Base, product: Path, heldout: Sequence[Example]) -> dict[str, Any]:
    """`heldout_loss` in nats per token of an answer, and `problems` that keep the product from being served."""
    from serve.rollout.validate import validate

    if (product / "adapter_config.json").exists():
        problems = validate(product, base, max_rank=64)
        return {"heldout_loss": mean_loss(base, product, heldout), "problems": problems}
    return {"heldout_loss": mean_loss(resolve_base(str(product)), None, heldout), "problems": []}


def mean_loss(base: Base, adapter: Path | None, heldout: Sequence[Example]) -> float:
    """The mean over rows, with the loss that `understudy verify` uses and in the type that vLLM serves."""
    from train.model.tokenize import token_rows, training_rows
    from train.scoring import Scorer

    scorer = Scorer(base, adapter)
    losses = scorer.losses(token_rows(training_rows(heldout), scorer.tokenizer))
    return sum(losses) / len(losses)


if __name__ == "__main__":
    main(sys.argv[1])

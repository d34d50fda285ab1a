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
    """Prints a JSON object: the tokens and number of the job's `examples`, the base's own loss on its `heldout` rows,
    and for each name in its `products` what was found."""
    job = json.loads(Path(path).read_text())
    base, heldout = resolve_base("tiny"), load_examples(Path(job["heldout"]))
    lengths = row_lengths(base, load_examples(Path(job["examples"])))
    found = {name: judge(base, Path(product), heldout) for name, product in job["products"].items()}
    told = {"tokens": sum(lengths), "rows": len(lengths), "base": mean_loss(base, None, heldout), "found": found}
    print(json.dumps(told))


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
    """The mean over rows, in float32 as vLLM serves the tiny base, with the loss that `understudy verify` uses."""
    from train.model.tokenize import token_rows, training_rows
    from train.scoring import Scorer

    scorer = Scorer(base, adapter)
    losses = scorer.losses(token_rows(training_rows(heldout), scorer.tokenizer))
    return sum(losses) / len(losses)


if __name__ == "__main__":
    main(sys.argv[1])

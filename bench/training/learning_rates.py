"""Whether `learning_rate: auto` is near the best: a sweep of rates around it, judged by the held-out loss.

    python -m bench.training.learning_rates email-copy stand-up --seeds 0 1 2

Trains on all rows of each recipe at 7 rates, 1/4 to 4 times the automatic one, and takes the loss on its held-out rows
after the last epoch. The rate is a formula (train/hyperparameters.py) that has seen none of these rows. A run that is
there is not made again, so an interrupted bench goes on. Writes docs/results/learning-rates.json.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.machine import RESULTS, save
from understudy.bases import resolve_base
from understudy.cli.console import prepare
from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import PROJECT
from understudy.data.recipe_rows import heldout_examples, training_examples

TIMES = (0.25, 0.5, 0.71, 1.0, 1.41, 2.0, 4.0)
FILE = RESULTS / "learning-rates.json"


def main() -> None:
    """Makes the runs that are missing, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--base", default="smollm2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--times", type=float, nargs="+", default=list(TIMES))
    parser.add_argument("--each-epoch", action="store_true", help="take the loss after each epoch, not only at the end")
    arguments = parser.parse_args()
    prepare(trains=True)
    for name in arguments.recipes:
        recipe = load_recipe(name, PROJECT / "recipes")
        for seed in arguments.seeds:
            for times in arguments.times:
                _once(recipe, arguments.base, times, seed, each_epoch=arguments.each_epoch)
        print(_table(name, arguments.base))


def _once(recipe: Recipe, base: str, times: float, seed: int, *, each_epoch: bool) -> None:
    key = f"{recipe.name} on {base}, seed {seed}, {times:g} times"
    known = _known()
    if key in known["runs"]:
        return
    found = _run(recipe, base, times, seed, each_epoch=each_epoch)
    save("learning-rates", {"runs": {**known["runs"], key: found}}, earlier=known if known["runs"] else None)
    print(f"{key}: rate {found['rate']:.2g}, held-out loss {found['losses']}", flush=True)


def _run(recipe: Recipe, base: str, times: float, seed: int, *, each_epoch: bool) -> dict[str, Any]:
    from transformers.trainer_utils import IntervalStrategy

    from train.hyperparameters import settled
    from train.model.load import load_tokenizer
    from train.model.tokenize import training_rows
    from train.sft_trainer import build_trainer

    resolved, examples = resolve_base(base), training_examples(recipe, base)
    training = settled(recipe.training.model_copy(update={"seed": seed}), resolved, len(examples))
    training = training.model_copy(update={"learning_rate": times * training.learning_rate})
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(
            resolved,
            load_tokenizer(resolved),
            training,
            training_rows(examples),
            Path(folder),
            heldout=training_rows(heldout_examples(recipe, base)),
            checkpoint_seconds=None,
        )
        if each_epoch:
            trainer.train()
        else:
            trainer.args.eval_strategy = IntervalStrategy.NO
            trainer.train()
            trainer.evaluate()
        losses = [round(entry["eval_loss"], 4) for entry in trainer.state.log_history if "eval_loss" in entry]
    return {
        "recipe": recipe.name,
        "base": base,
        "seed": seed,
        "times": times,
        "rate": training.learning_rate,
        "epochs": training.epochs,
        "rows": len(examples),
        "losses": losses,
    }


def _known() -> dict[str, Any]:
    return json.loads(FILE.read_text()) if FILE.is_file() else {"runs": {}}


def _table(name: str, base: str) -> str:
    """Mean held-out loss after the last epoch at each rate, and how far the automatic one is from the best."""
    by_times: dict[float, list[float]] = {}
    for run in _known()["runs"].values():
        if (run["recipe"], run["base"]) == (name, base):
            by_times.setdefault(run["times"], []).append(run["losses"][-1])
    means = {times: fmean(losses) for times, losses in sorted(by_times.items())}
    best = min(means.values())
    lines = [f"{name} on {base}, held-out loss (nats a token), mean of {len(next(iter(by_times.values())))} seeds"]
    lines += [f"  {times:>5g} x auto: {mean:.3f} ({mean / best - 1:+.1%})" for times, mean in means.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Train the tiny base from the text that the project generates.

    python -m tools.tiny_base.pretrain [--quick] [--out FOLDER]

Up to an hour on two cores. Muon updates the hidden matrices, AdamW the rest. A copy curriculum comes first. The build
is seeded and counted in steps; it writes checkpoints, and after an interruption it continues from the last one.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tools.tiny_base import tables
from tools.tiny_base.batches import Batch, BatchStream, CopyBatches, by_length, collated
from tools.tiny_base.conversations import conversations
from tools.tiny_base.names import TokenPool
from tools.tiny_base.plan import FULL, QUICK, Plan, llama_config
from tools.tiny_base.tokenizer import END, PAD, encode, load_tokenizer, token_pool, train_tokenizer
from understudy.bases import TINY_DIR
from understudy.cli.console import console, steps
from understudy.config.settings import load_settings

Progress = Callable[[int, int, float], None]
WARM_UP_STEPS, CONSTANT_UNTIL, LAST_RATE = 20, 0.35, 0.02
HELD_OUT_CONVERSATIONS = 300


@dataclass(frozen=True)
class BuildResult:
    """What a build made."""

    out: Path
    parameters: int
    steps: int
    seconds: float
    """Wall-clock seconds over all sittings."""
    heldout_loss: float
    """Mean loss per answer token on conversations that were not trained on."""


def build(
    out: Path,
    *,
    quick: bool = False,
    seed: int = 0,
    resume: bool = True,
    work: Path,
    on_progress: Progress | None = None,
    plan: Plan | None = None,
) -> BuildResult:
    """Train a base and write it to `out`; checkpoints go to `work`.

    With `resume`, an interrupted build of the same plan and seed continues from its last checkpoint.
    `on_progress` is called with the step, the number of steps and the loss after every step.
    """
    plan = plan or (QUICK if quick else FULL)
    work.mkdir(parents=True, exist_ok=True)
    if not resume:
        (work / "checkpoint.pt").unlink(missing_ok=True)
        (work / "tokenizer.json").unlink(missing_ok=True)
    started = Build(plan, seed, work)
    started.train(on_progress)
    loss = heldout_loss(started.model, started.tokenizer)
    save_base(started.model, started.tokenizer, out)
    return BuildResult(out, parameter_count(started.model), started.step, started.seconds, loss)


class Build:
    """A build in progress: model, optimisers, and the place in the stream of text."""

    def __init__(self, plan: Plan, seed: int, work: Path) -> None:
        self.plan, self.seed, self.work = plan, seed, work
        self.tokenizer = _tokenizer(plan, seed, work)
        end, pad = (self.tokenizer.get_vocab()[mark] for mark in (END, PAD))
        torch.manual_seed(seed)
        self.model = LlamaForCausalLM(llama_config(plan, end, pad))
        self.optimisers = _optimisers(self.model, plan)
        self.stream = BatchStream(self.tokenizer, plan, seed)
        self.copies = CopyBatches(self.tokenizer, plan, seed)
        self.step, self.seconds = 0, 0.0
        self._restore()

    def train(self, on_progress: Progress | None) -> None:
        """Train to the last step of the plan."""
        self.model.train()
        started = time.monotonic() - self.seconds
        while self.step < self.plan.steps:
            _set_rates(self.optimisers, _rate(self.step, self.plan))
            loss = self._one_step(self._batch())
            self.step += 1
            self.seconds = time.monotonic() - started
            if self.step % self.plan.checkpoint_every == 0 or self.step == self.plan.steps:
                self._save()
            if on_progress:
                on_progress(self.step, self.plan.steps, loss)
        self.model.eval()

    def _batch(self) -> Batch:
        chance = Random(f"{self.seed}/{self.step}").random()
        if self.step < self.plan.copy_steps or chance < self.plan.copy_share:
            return self.copies.at(self.step)
        return self.stream.next()

    def _one_step(self, batch: Batch) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            loss = _loss(self.model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.model.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _save(self) -> None:
        state = {
            "plan": asdict(self.plan),
            "seed": self.seed,
            "step": self.step,
            "seconds": self.seconds,
            "round": self.stream.round,
            "position": self.stream.position,
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        partial = self.work / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.work / "checkpoint.pt")

    def _restore(self) -> None:
        path = self.work / "checkpoint.pt"
        if not path.is_file():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["plan"] != asdict(self.plan) or state["seed"] != self.seed:
            return
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        self.stream.round, self.stream.position = state["round"], state["position"]


def tokenizer_texts(plan: Plan, seed: int) -> Iterator[str]:
    """What the tokenizer learns from: conversations, and every noun a few times."""
    for conversation in conversations(f"{seed}/tokenizer", TokenPool(), plan.tokenizer_conversations):
        for message in conversation:
            yield message["content"]
    for kind in tables.noun_kinds():
        for nouns in kind.nouns.values():
            yield from (f" {noun} {noun} {noun} {noun}" for noun in nouns)


def _tokenizer(plan: Plan, seed: int, work: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of this build: the one in `work` when it has the right size, else a new one."""
    if (work / "tokenizer.json").is_file():
        tokenizer = load_tokenizer(work)
        if len(tokenizer) == plan.vocabulary:
            return tokenizer
    tokenizer = train_tokenizer(tokenizer_texts(plan, seed), plan.vocabulary)
    tokenizer.backend_tokenizer.save(str(work / "tokenizer.json"))
    return tokenizer


def _optimisers(model: LlamaForCausalLM, plan: Plan) -> list[torch.optim.Optimizer]:
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=plan.other_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def _rate(step: int, plan: Plan) -> float:
    """The share of the full learning rate at a step: warm up, hold, fall in a straight line."""
    done = max(0, step - plan.copy_steps) / (plan.steps - plan.copy_steps)
    fall = 1.0 if done < CONSTANT_UNTIL else max(LAST_RATE, (1 - done) / (1 - CONSTANT_UNTIL))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * fall


def _set_rates(optimisers: list[torch.optim.Optimizer], share: float) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            full = group.setdefault("full_rate", group["lr"])
            group["lr"] = full * share


def _loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted mean loss; the vocabulary is only projected to where a token counts."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state[:, :-1]
    targets, weights = batch.ids[:, 1:], batch.weights[:, 1:]
    counted = weights > 0
    logits = model.lm_head(hidden[counted]).float()
    losses = cross_entropy(logits, targets[counted], reduction="none")
    return (losses * weights[counted]).sum() / weights.sum()


@torch.no_grad()
def heldout_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, count_of: int = HELD_OUT_CONVERSATIONS
) -> float:
    """Mean loss per answer token on generated conversations of a seed that training never uses."""
    pool = token_pool(tokenizer)
    rows = [encode(tokenizer, c) for c in conversations("held out", pool, count_of)]
    total = count = 0.0
    for group in by_length(rows, 4096):
        batch = collated(group, prompt_weight=0.0)
        answer_tokens = float(batch.weights[:, 1:].sum())
        total += float(_loss(model, batch)) * answer_tokens
        count += answer_tokens
    return total / count


def parameter_count(model: LlamaForCausalLM) -> int:
    """Number of weights; the tied embedding counts once."""
    return sum(p.numel() for p in model.parameters())


def save_base(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the base in bfloat16 with its tokenizer, each file complete before it takes its place."""
    partial = out.with_name(out.name + ".partial")
    saved = LlamaForCausalLM(model.config)
    saved.load_state_dict(model.state_dict())
    saved = saved.bfloat16().eval()
    saved.generation_config.eos_token_id = model.config.eos_token_id
    saved.generation_config.pad_token_id = model.config.pad_token_id
    saved.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(partial.iterdir()):
        file.replace(out / file.name)
    partial.rmdir()


def main() -> None:
    """Train `tiny`, the base of the tests, and say how good it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=TINY_DIR, help="where the model goes (default: over the shipped one)"
    )
    parser.add_argument("--quick", action="store_true", help="a rough one in minutes, to see that it works")
    parser.add_argument("--seed", type=int, default=0, help="seed of text and weights (0)")
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted build")
    chosen = parser.parse_args()
    work = load_settings().home / "base-build" / f"{'quick' if chosen.quick else 'full'}-{chosen.seed}"
    with steps("training the base") as on_step:
        result = build(
            chosen.out, quick=chosen.quick, seed=chosen.seed, resume=not chosen.fresh, work=work, on_progress=on_step
        )
    console.print(
        f"{result.parameters / 1e6:.1f}M parameters, {result.steps} steps, {result.seconds:.0f} s, "
        f"held-out loss {result.heldout_loss:.3f}: {result.out}"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped; the same command continues from the last checkpoint", file=sys.stderr)
        sys.exit(130)

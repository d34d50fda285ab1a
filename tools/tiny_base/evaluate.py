"""Ask a build of the tiny base what it was never trained on, and count the right answers.

python -m tools.tiny_base.evaluate [FOLDER]
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tools.tiny_base.conversations import Message
from tools.tiny_base.pretrain import HELD_OUT_CONVERSATIONS, heldout_loss, parameter_count
from tools.tiny_base.questions import Case, cases
from understudy.bases import TINY_DIR
from understudy.cli.console import steps

Progress = Callable[[int, int], None]
LONGEST_ANSWER, GROUP = 320, 16


class Count(BaseModel):
    """How many of the cases of a category were right."""

    model_config = ConfigDict(frozen=True)

    right: int
    of: int

    def __str__(self) -> str:
        return f"{self.right}/{self.of}"


class Miss(BaseModel):
    """A wrong answer, kept so that a person can read it."""

    model_config = ConfigDict(frozen=True)

    category: str
    question: str
    answer: str


class EvalReport(BaseModel):
    """What a base did with held-out questions (greedy decoding)."""

    model_config = ConfigDict(frozen=True)

    parameters: int
    heldout_loss: float
    seed: int
    counts: dict[str, Count]
    misses: list[Miss]

    def __str__(self) -> str:
        return self.table()

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.model_dump(), indent=2, ensure_ascii=False) + "\n"

    def table(self) -> str:
        """The report as a plain table."""
        rows = [(name, str(count)) for name, count in self.counts.items()]
        rows += [("held-out loss", f"{self.heldout_loss:.3f}"), ("parameters", f"{self.parameters:,}")]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def evaluate(base: Path, *, seed: int = 0, limit: int | None = None, on_progress: Progress | None = None) -> EvalReport:
    """Ask the base in folder `base` the held-out questions.

    `limit` takes only so many of each category; `on_progress` is called with answers done and answers wanted.
    """
    model, tokenizer = load_base(base)
    wanted = _limited(cases(seed), limit)
    answers = _answers(model, tokenizer, wanted, on_progress)
    counts: dict[str, Count] = {}
    misses: list[Miss] = []
    for case, (text, stopped) in zip(wanted, answers, strict=True):
        right = case.right(text)
        _add(counts, case.category, right)
        _add(counts, "stopped by itself", stopped)
        if not (right and stopped):
            asked = " | ".join(message["content"] for message in case.messages)
            misses.append(Miss(category=case.category, question=asked, answer=text))
    return EvalReport(
        parameters=parameter_count(model),
        heldout_loss=round(heldout_loss(model, tokenizer, HELD_OUT_CONVERSATIONS if limit is None else 20 * limit), 4),
        seed=seed,
        counts=counts,
        misses=misses,
    )


def load_base(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The base in a folder, in float32, and its tokenizer."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


def answer(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, chats: list[list[Message]]
) -> list[tuple[str, bool]]:
    """Greedy answers to chats, with whether each ended by itself."""
    tokenizer.padding_side = "left"
    prompts = [str(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)) for chat in chats]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=LONGEST_ANSWER, do_sample=False)  # pyright: ignore[reportAttributeAccessIssue]
    new = out[:, inputs["input_ids"].shape[1] :]
    return [
        (str(tokenizer.decode(row, skip_special_tokens=True)), bool((row == tokenizer.eos_token_id).any()))
        for row in new
    ]


def _answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, wanted: list[Case], on_progress: Progress | None
) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for start in range(0, len(wanted), GROUP):
        group = wanted[start : start + GROUP]
        found += _turn_by_turn(model, tokenizer, group)
        if on_progress:
            on_progress(len(found), len(wanted))
    return found


def _turn_by_turn(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, group: list[Case]
) -> list[tuple[str, bool]]:
    """The last answer of each case; the answers before it are the base's own."""
    chats: list[list[Message]] = [[] for _ in group]
    last: list[tuple[str, bool]] = [("", True)] * len(group)
    for turn in range(max(len(case.messages) for case in group)):
        places = [place for place, case in enumerate(group) if turn < len(case.messages)]
        for place in places:
            chats[place].append(group[place].messages[turn])
        for place, result in zip(places, answer(model, tokenizer, [chats[p] for p in places]), strict=True):
            chats[place].append({"role": "assistant", "content": result[0]})
            last[place] = (result[0], result[1] and last[place][1])
    return last


def _limited(found: list[Case], limit: int | None) -> list[Case]:
    if limit is None:
        return found
    seen: dict[str, int] = {}
    kept: list[Case] = []
    for case in found:
        seen[case.category] = seen.get(case.category, 0) + 1
        if seen[case.category] <= limit:
            kept.append(case)
    return kept


def _add(counts: dict[str, Count], category: str, right: bool) -> None:
    old = counts.get(category, Count(right=0, of=0))
    counts[category] = Count(right=old.right + int(right), of=old.of + 1)


def main() -> None:
    """Print how a build answers the held-out questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=TINY_DIR, help="a build (default: the shipped one)")
    parser.add_argument("--limit", type=int, help="ask only so many questions of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON, with every wrong answer")
    chosen = parser.parse_args()
    if not (chosen.folder / "config.json").is_file():
        parser.error(f"{chosen.folder}: no model there; build one with `python -m tools.tiny_base.pretrain`")
    with steps("asking") as on_step:
        report = evaluate(chosen.folder, limit=chosen.limit, on_progress=lambda done, total: on_step(done, total, None))
    print(report.to_json() if chosen.json else report)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)

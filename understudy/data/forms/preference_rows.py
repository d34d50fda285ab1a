"""Rows of preferences as TRL and well-known data sets write them, brought into our form.

Prompts are explicit or implicit (both answers begin with them), answers are texts, messages, lists of messages that
begin with the prompt, or whole dialogues ("\n\nHuman: ... \n\nAssistant: ...", Anthropic's form).
"""

import re
from collections.abc import Mapping
from typing import Any

from understudy.data.forms.meaning import MEDIA
from understudy.data.forms.turns import turns_of
from understudy.data.forms.values import found_there, is_nothing, optional_text
from understudy.data.records import RowError, shown

PROMPTS = ("prompt", "question", "instruction", "conversations")
"""Columns of the prompt, of which a row has one."""

SYSTEMS = ("system", "system_prompt")

BESIDE = frozenset(["id", "prompt_id", "score_chosen", "score_rejected", "chosen_score", "rejected_score"]) | {
    "chosen_model", "rejected_model", "chosen-model", "rejected-model", "source", "dataset", "messages"
}  # fmt: skip
"""Columns of well-known data sets that say nothing about which answer was wanted, or repeat it."""

DIALOGUE = re.compile(r"\n\n(Human|Assistant): ?")


def in_our_form(row: Mapping[str, Any], *, labelled: bool) -> dict[str, Any]:
    """The row with `prompt` and its answers as lists of messages; what it does not know is left as it is.

    Raises:
        RowError: an answer does not begin with the prompt, there is no prompt, or a column would be lost.
    """
    for name in sorted(MEDIA & row.keys()):
        if not is_nothing(row[name]):
            raise RowError("not_text", f"{name}: found {found_there(row[name])}; a model learns from text only")
    answers = ["completion"] if labelled else ["chosen", "rejected"]
    made = {name: value for name, value in row.items() if name not in BESIDE}
    for name in (*PROMPTS, *answers):
        if name in made:
            made[name] = _chat(made[name], name)
    systems = [text for name in SYSTEMS if (text := optional_text(made.pop(name, None), name))]
    prompt = _prompt(made)
    there = [name for name in answers if isinstance(made.get(name), list)]
    if prompt is None and len(there) == len(answers):
        prompt = _common(*(made[name] for name in there)) if len(there) > 1 else made[there[0]][:-1]
        if not prompt or prompt[-1]["role"] == "assistant":
            raise RowError(
                "wrong_type", f"there is no prompt, and {' and '.join(there)} do not begin with the same one"
            )
    if prompt is not None:
        for name in there:
            made[name] = _after(prompt, made[name], name)
        if isinstance(prompt, list) and systems:
            prompt = [{"role": "system", "content": systems[0]}, *prompt]
        made["prompt"] = prompt
    return made


def _prompt(made: dict[str, Any]) -> Any:
    """The prompt, taken out of the row; None where there is no such column."""
    there = [name for name in PROMPTS if not is_nothing(made.get(name))]
    if len(there) > 1:
        raise RowError("unused_column", f"{' and '.join(there)} are both prompts; keep one")
    found = made.pop(there[0]) if there else None
    for name in PROMPTS:
        made.pop(name, None)
    context = optional_text(made.pop("input", None), "input") if there and there[0] == "instruction" else ""
    if context and isinstance(found, list):
        last = found[-1]
        return [*found[:-1], {**last, "content": f"{last['content']}\n\n{context}"}]
    return found


def _chat(value: Any, name: str) -> Any:
    """A value as messages: a text by the role of its column, a dialogue by its speakers, a message, or a list."""
    if isinstance(value, str):
        if DIALOGUE.match(value):
            parts = DIALOGUE.split(value)[1:]
            pairs = zip(parts[::2], parts[1::2], strict=True)
            return [{"role": "user" if who == "Human" else "assistant", "content": text.strip()} for who, text in pairs]
        role = "user" if name in PROMPTS else "assistant"
        return [{"role": role, "content": value}] if value.strip() else value
    listed = [value] if isinstance(value, dict) else value
    if not isinstance(listed, list) or not listed:
        return value
    turns = turns_of(listed, shown(name), [])
    if not turns:
        raise RowError("empty", f"{shown(name)} has no message with text")
    return [{key: inner for key, inner in turn.items() if key != "weight"} for turn in turns]


def _common(chosen: list[Any], rejected: list[Any]) -> list[Any]:
    """The messages with which both answers begin; each keeps at least its last."""
    same = 0
    while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
        same += 1
    while same and chosen[same - 1]["role"] == "assistant":
        same -= 1
    return chosen[:same]


def _after(prompt: Any, answer: list[Any], name: str) -> list[Any]:
    """The answer without the prompt that it begins with."""
    if not answer:
        raise RowError("empty", f"{name} has no message")
    if isinstance(prompt, list) and answer[: len(prompt)] == prompt and len(answer) > len(prompt):
        answer = answer[len(prompt) :]
    if not all(isinstance(message, dict) for message in answer):
        return answer
    if answer[0]["role"] in ("user", "system"):
        raise RowError("bad_turns", f"{name} begins with another prompt than the row's; keep one of the two")
    if answer[-1]["role"] != "assistant":
        raise RowError("bad_turns", f"{name} must end with the assistant's answer, found {answer[-1]['role']}")
    return answer

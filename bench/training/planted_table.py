"""The figures of planted failures against the thresholds: which are refused, why, and the table of docs/training.md."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.report_card import ReportCard
from understudy.config.thresholds import Thresholds

FLOORS = ("acts", "in_style", "stopped", "on_topic", "accuracy", "general")
CEILINGS = ("surprise", "made_up", "echoes", "degenerate", "copied", "memorised", "forgetting")


def figures(card: ReportCard) -> dict[str, float | None]:
    """By threshold: what it is compared with."""
    mine = card.contestants["adapter"]
    found = {
        "in_style": mine.in_style,
        "stopped": mine.stopped,
        "on_topic": mine.on_topic,
        "surprise": mine.fluency.excess,
        "made_up": mine.fluency.made_up,
        "accuracy": mine.accuracy.meaning,
        "details": mine.accuracy.details,
        "copied": card.copied,
        "echoes": mine.echoes,
        "degenerate": mine.degenerate,
        "forgetting": card.forgetting,
        "general": card.general.adapter if card.general else None,
        "memorised": card.memorised,
        "acts": card.acts,
        "sound": mine.sound,
    }
    return {name: None if one is None else round(one.value, 4) for name, one in found.items()}


def refused(run: dict[str, Any], thresholds: Thresholds) -> list[str]:
    """Why these thresholds refuse what was measured; `details` and what has no threshold as it was said then."""
    if "figures" not in run:
        return list(run["codes"])
    found, told = run["figures"], [code for code in run["codes"] if code not in {*FLOORS, *CEILINGS}]
    low = [name for name in FLOORS if found.get(name) is not None and found[name] < getattr(thresholds, name)]
    high = [name for name in CEILINGS if found.get(name) is not None and found[name] > getattr(thresholds, name)]
    return [*low, *high, *told]


def auc(sound: Sequence[float], broken: Sequence[float]) -> float:
    """Area under the ROC curve: how often a broken answer has more than a sound one; ties count half."""
    more = np.subtract.outer(np.asarray(broken), np.asarray(sound))
    return float((more > 0).mean() + (more == 0).mean() / 2)


def table(runs: dict[str, dict[str, Any]], recipe: str) -> str:
    """Planted, expected, found; and for noise how well a single answer's figures tell it from a sound one."""
    lines = [
        "| planted | refused because of | surprise | made up | accuracy | details | ROC of surprise / accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    sound = runs[f"{recipe}: sound"]
    for key, run in runs.items():
        if not key.startswith(f"{recipe}: "):
            continue
        f = run.get("figures", {})
        roc = "–"
        if run.get("excess_by_answer"):
            first = auc(sound["excess_by_answer"], run["excess_by_answer"])
            second = 1 - auc(sound["accuracy_by_answer"], run["accuracy_by_answer"])
            roc = f"{first:.2f} / {second:.2f}"
        cells = (
            key.removeprefix(f"{recipe}: "),
            ", ".join(refused(run, Thresholds())) or "passed",
            _cell(f.get("surprise"), "{:+.2f}"),
            _cell(f.get("made_up"), "{:.1%}"),
            _cell(f.get("accuracy"), "{:.0%}"),
            _cell(f.get("details"), "{:.0%}"),
            roc,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def codes(run: dict[str, Any]) -> set[str]:
    """Why the default thresholds refuse it."""
    return {*refused(run, Thresholds())}


def wrong(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Plants that were not refused, or not for a right reason; sound ones that were refused."""
    return [
        name
        for name, run in runs.items()
        if (codes(run) if not run["expected"] else not {*run["expected"], "validate"} & codes(run))
    ]

"""What `understudy preferences`, and training on preferences, show."""

import json
import sys
from typing import TYPE_CHECKING

from understudy.cli.console import console, warn
from understudy.registry.adapters import short
from understudy.workflows.train_from_votes import ExportedPreferences, PreferenceOutcome, PreferencePlan

if TYPE_CHECKING:
    from train.preference.run import Agreement, Preferred

LEFT_OUT = ("ties", "both_bad", "outvoted", "undecided", "identical", "empty", "others")
"""Votes that make no pair, by reason."""


def show_export(exported: ExportedPreferences, *, with_rows: bool, json_output: bool) -> None:
    """What became of the votes; with `with_rows` also the rows, on standard output."""
    if json_output:
        rows = {"rows": [row.model_dump(mode="json") for row in exported.rows]} if with_rows else {}
        counted = exported.counted.model_dump()
        print(json.dumps({"persona": exported.persona, "format": exported.form, **counted, **rows}))
        return
    if with_rows:
        sys.stdout.writelines(row.model_dump_json() + "\n" for row in exported.rows)
    counted = exported.counted
    labels = exported.form == "kto"
    kind, rows, heldout = (
        ("labels", counted.labels, counted.labels_heldout)
        if labels
        else ("pairs", counted.pairs, counted.pairs_heldout)
    )
    reasons = ((getattr(counted, name), name.replace("_", " ")) for name in LEFT_OUT)
    rest = ", ".join(f"{count} {reason}" for count, reason in reasons if count)
    console.print(
        f"{exported.persona}: {counted.votes} votes, {rows} {kind} ({heldout} held out) on "
        f"{counted.prompts} prompts ({counted.prompts_heldout} held out)" + (f"; {rest}" if rest else "")
    )


def show_preference_plan(plan: PreferencePlan) -> None:
    """What is continued, with which method, from how many preferences."""
    sides = [row.side for row in plan.rows]
    console.print(
        f"{plan.recipe.name}: {plan.preference.method} on {plan.base} from {short(plan.parent.id)}, "
        f"{sides.count('train')} preferences, {len(sides) - sides.count('train')} held out"
    )


def show_preference_outcome(outcome: PreferenceOutcome) -> None:
    """What the run did, how often it agrees with people, and what to do with it."""
    name = outcome.plan.recipe.name
    _show_run(outcome.trained)
    if outcome.revision is None:
        product = outcome.trained.run.product
        console.print(f"a reward model, never served: {product}; use it with --method grpo or rloo")
        return
    console.print(
        f"registered as {name}@{short(outcome.revision)}; verify it: understudy verify {name}; "
        f"try it: understudy publish {name} --canary 50%, understudy promote {name} --when-better"
    )


def _show_run(trained: "Preferred") -> None:
    left_out = ", ".join(f"{count} {reason}" for reason, count in trained.left_out.items())
    if left_out:
        warn(f"left out: {left_out}")
    if trained.reused:
        console.print(f"already trained with these settings and preferences: {trained.run.folder} (--fresh: anew)")
    else:
        resumed = f", went on from step {trained.resumed_at}" if trained.resumed_at else ""
        loss = "" if trained.loss is None else f", last loss {trained.loss:.3f}"
        console.print(
            f"{trained.steps} steps ({trained.epochs:g} epochs) in {trained.seconds:.1f} s{resumed}{loss}, "
            f"at most {trained.peak_memory_mib:,.0f} MiB"
        )
    console.print(
        f"sides with people on {_share(trained.heldout)} of the held-out pairs "
        f"({_share(trained.trained)} of those it learnt from), mean margin {trained.heldout.margin:+.3f}"
    )


def _share(found: "Agreement") -> str:
    from understudy.statistics.intervals import rate

    if not found.of:
        return "none"
    estimate = rate(found.right, found.of)
    return f"{found.right} of {found.of} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f} %)"

"""Reports: contestants side by side on the same prompts, with figures, intervals and a verdict."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluate.measures import Measures
from evaluate.metrics.code_answers import CodeMeasures
from evaluate.records import ContestantName, EvalRecord
from evaluate.reports.answers import (
    Answers,
    check_answers,
    copied_share,
    imported_by,
    only_held_out,
    recorded,
    text_figures,
)
from evaluate.reports.imported_answers import ImportedAnswers, PromptToShow, clean, prompt_key
from evaluate.reports.records import Gap, Kind, Measure, PromptRow, Report, ReportContestant, ReportVerdict, TrainedRun
from evaluate.reports.tables import further
from evaluate.reports.wording import MEASURES, limits, method_name, reasons_to_pass
from evaluate.verified_runs import VerifiedRun
from understudy.errors import ExamplesError
from understudy.statistics.intervals import Estimate


@dataclass(frozen=True)
class _Entry:
    """A contestant before it gets a key and a unique name."""

    name: str
    kind: Kind
    note: str
    asked: int
    figures: dict[str, Estimate | None]
    answers: Answers


def build_report(
    runs: Sequence[VerifiedRun],
    *,
    title: str,
    voice: str,
    made_on: str,
    versions: Mapping[str, str],
    imported: Sequence[ImportedAnswers] = (),
    prompts: Sequence[PromptToShow] | None = None,
    seed: int = 0,
) -> Report:
    """Builds the report on these runs, the first of which gives the held-out prompts, and on imported answers.

    `prompts` are those to show, by default all held-out ones; `imported` must have been matched to the same prompts.
    Figures always rest on held-out prompts. The same arguments give the same report.

    Raises:
        ExamplesError: there are no runs, or they are of different recipes.
        MeasurementError: there is too little to measure.
    """
    recipes = sorted({run.card.recipe for run in runs})
    if len(recipes) != 1:
        raise ExamplesError(f"a report is about the runs of one recipe; found {', '.join(recipes) or 'none'}")
    first = runs[0]
    shown = list(prompts) if prompts is not None else held_out(first.record)
    entries = [*_verified(runs, seed), *_imported(first.record, shown, imported, seed)]
    contestants = _contestants(entries, runs)
    trained = [one for one in contestants if one.kind == "trained"]
    gaps = [
        Gap(system=one.system, file=one.file, unanswered=one.unanswered, unmatched=one.unmatched) for one in imported
    ]
    return Report(
        recipe=first.card.recipe,
        title=title,
        voice=voice,
        made_on=made_on,
        versions=dict(versions),
        prompts=first.card.prompts,
        style_asked=first.card.thresholds.in_style,
        verdicts=tuple(_verdict(run, one) for run, one in zip(runs, trained, strict=True)),
        measures=tuple(m for m in MEASURES if any(one.figures.get(m.key) for one in contestants)),
        contestants=contestants,
        further=further([run.card for run in runs]),
        rows=_rows(first.record, shown, contestants, entries),
        gaps=tuple(gap for gap in gaps if gap.unanswered or gap.unmatched),
        runs=tuple(
            TrainedRun(contestant=one.key, name=one.name, facts=run.facts)
            for run, one in zip(runs, trained, strict=True)
        ),
        limits=limits(runs, contestants),
    )


def held_out(record: EvalRecord) -> list[PromptToShow]:
    """Returns the held-out prompts, each once."""
    found: dict[str, PromptToShow] = {}
    for row in record.heldout:
        found.setdefault(prompt_key(row.prompt), PromptToShow(prompt=row.prompt, topic=row.topic))
    return list(found.values())


def _verified(runs: Sequence[VerifiedRun], seed: int) -> list[_Entry]:
    """Returns all contestants of the report cards; a rival that several runs share appears once."""
    rivals: dict[tuple[object, ...], _Entry] = {}
    trained: list[_Entry] = []
    several = len({run.card.base for run in runs}) > 1
    for run in runs:
        base = (run.card.base, run.facts.base_revision)
        taught = tuple((row.prompt, row.answer) for row in run.record.training)
        same = {"base": base, "described": base, "few-shot": (*base, taught)}
        fresh: list[ContestantName] = [
            who for who in run.record.outputs if who == "adapter" or (who, same[who]) not in rivals
        ]
        given = [one for who in fresh for one in recorded(run.record, who, run.record.outputs[who])]
        answers = check_answers(run.record, given, seed=seed)
        for who in fresh:
            entry = _entry(run, who, f"base {run.card.base}" if several else "base", answers[who], seed)
            if who == "adapter":
                trained.append(entry)
            else:
                rivals[who, same[who]] = entry
    return [*rivals.values(), *trained]


def _entry(run: VerifiedRun, who: ContestantName, base: str, answers: Answers, seed: int) -> _Entry:
    """Makes the entry of one contestant: figures from the report card, answers from the record."""
    copied = run.card.copied if who == "adapter" else copied_share(answers, seed=seed)
    shots = run.record.outputs[who].shots
    names: dict[ContestantName, tuple[str, Kind, str]] = {
        "base": (base, "base", "as it is"),
        "described": (f"{base} + description", "described", "the persona's description as its system prompt"),
        "few-shot": (f"{base} + {shots} shots", "few-shot", f"{shots} training rows before each prompt"),
        "adapter": (method_name(run.facts), "trained", f"trained on {run.card.examples} rows"),
    }
    name, kind, note = names[who]
    helpful = run.card.helpful if who == "adapter" else None
    figures = _figures(run.card.contestants[who], copied, helpful) | _code(run.card.code.get(who))
    return _Entry(name, kind, note, len(run.record.heldout), figures, answers)


def _figures(measures: Measures, copied: Estimate | None, helpful: Estimate | None) -> dict[str, Estimate | None]:
    echo = measures.echoes
    return {
        "sound": measures.sound,
        "in_style": measures.in_style,
        "helpful": helpful,
        "accuracy": measures.accuracy.meaning,
        "details": measures.accuracy.details,
        "chrf": measures.accuracy.chrf,
        "fluency": measures.fluency.excess,
        "made_up": measures.fluency.made_up,
        "on_topic": measures.on_topic,
        "stopped": measures.stopped,
        "no_echo": Estimate(value=1 - echo.value, low=1 - echo.high, high=1 - echo.low, n=echo.n),
        "copied": copied,
        "loss": measures.loss,
        "words": measures.words,
    }


def _code(found: CodeMeasures | None) -> dict[str, Estimate | None]:
    if found is None:
        return {}
    return {"code_parses": found.parses, "code_runs": found.runs, "code_chrf": found.chrf}


def _imported(
    record: EvalRecord, shown: Sequence[PromptToShow], imported: Sequence[ImportedAnswers], seed: int
) -> list[_Entry]:
    """Makes the entries of imported systems, measured as far as text alone allows."""
    given = [one for i, system in enumerate(imported) for one in imported_by(record, str(i), shown, system)]
    checked = check_answers(record, given, seed=seed)
    entries = []
    for i, system in enumerate(imported):
        answers = checked.get(str(i), {})
        counted = only_held_out(record, answers)
        note = f"imported, {sum(map(len, system.answers))} answers"
        entries.append(_Entry(system.system, "imported", note, len(counted), text_figures(counted, seed=seed), answers))
    return entries


def _contestants(entries: Sequence[_Entry], runs: Sequence[VerifiedRun]) -> tuple[ReportContestant, ...]:
    """Gives entries keys and unique names, and marks the measures in which one is clearly the best."""
    ids = iter([run.facts.id[:6] for run in runs])
    names = [clean(entry.name).replace("\n", " ") for entry in entries]
    counts = Counter(names)
    unique: list[str] = []
    for entry, name in zip(entries, names, strict=True):
        mark = next(ids) if entry.kind == "trained" else str(unique.count(name) + 1)
        unique.append(f"{name} {mark}" if counts[name] > 1 else name)
    return tuple(
        ReportContestant(
            key=f"c{i}",
            name=name,
            kind=entry.kind,
            note=entry.note,
            asked=entry.asked,
            figures=entry.figures,
            best=tuple(m.key for m in MEASURES if is_best(i, [one.figures for one in entries], m)),
        )
        for i, (entry, name) in enumerate(zip(entries, unique, strict=True))
    )


def is_best(place: int, figures: Sequence[Mapping[str, Estimate | None]], measure: Measure) -> bool:
    """Whether the whole interval at `place` is better than all others, of which there is at least one."""
    mine = figures[place].get(measure.key)
    others = [figure for i, one in enumerate(figures) if i != place and (figure := one.get(measure.key)) is not None]
    if mine is None or not others or not measure.better:
        return False
    if measure.better == "more":
        return all(mine.low > other.high for other in others)
    return all(mine.high < other.low for other in others)


def _verdict(run: VerifiedRun, contestant: ReportContestant) -> ReportVerdict:
    card, verdict = run.card, run.verdict
    return ReportVerdict(
        contestant=contestant.key,
        name=contestant.name,
        base=card.base,
        revision=card.revision,
        passed=verdict.passed,
        reasons=reasons_to_pass(card) if verdict.passed else verdict.reasons,
        worse=verdict.worse,
        rivals=verdict.rivals,
        open=verdict.open,
    )


def _rows(
    record: EvalRecord,
    shown: Sequence[PromptToShow],
    contestants: Sequence[ReportContestant],
    entries: Sequence[_Entry],
) -> tuple[PromptRow, ...]:
    references = {prompt_key(row.prompt): row.answer for row in reversed(record.heldout)}
    rows = []
    for one in shown:
        key = prompt_key(one.prompt)
        reference = references.get(key)
        rows.append(
            PromptRow(
                prompt=clean(one.prompt),
                reference=None if reference is None else clean(reference),
                answers={
                    contestant.key: entry.answers.get(key, ())
                    for contestant, entry in zip(contestants, entries, strict=True)
                },
            )
        )
    return tuple(rows)

"""Answers as a report shows them, each checked on its own, and the figures that need no model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evaluate.metrics.memorization import copying
from evaluate.metrics.style import style_scores
from evaluate.records import EvalRecord, ModelOutputs
from evaluate.reports.imported_answers import ImportedAnswers, PromptToShow, clean, prompt_key
from evaluate.reports.records import ShownAnswer
from understudy.statistics.answer_checks import PromptAndAnswer, check
from understudy.statistics.intervals import Estimate, bootstrap_mean

Answers = dict[str, tuple[ShownAnswer, ...]]
"""By key of the prompt."""


@dataclass(frozen=True)
class ReportAnswer:
    """One answer to be checked."""

    contestant: str
    prompt: str
    topic: str | None
    text: str
    stopped: bool | None
    """None if unknown."""


def recorded(record: EvalRecord, contestant: str, outputs: ModelOutputs) -> Iterator[ReportAnswer]:
    """Yields a contestant's answers to the held-out prompts."""
    for row, answer in zip(record.heldout, outputs.answers, strict=True):
        yield ReportAnswer(contestant, row.prompt, row.topic, answer.text, answer.stopped)


def imported_by(
    record: EvalRecord, contestant: str, shown: Sequence[PromptToShow], answers: ImportedAnswers
) -> Iterator[ReportAnswer]:
    """Yields an imported system's answers to the prompts that are shown, to which they were matched."""
    topics = {prompt_key(row.prompt): row.topic for row in record.heldout}
    for one, texts in zip(shown, answers.answers, strict=True):
        for text in texts:
            yield ReportAnswer(contestant, one.prompt, one.topic or topics.get(prompt_key(one.prompt)), text, None)


def check_answers(record: EvalRecord, answers: Sequence[ReportAnswer], *, seed: int) -> dict[str, Answers]:
    """Checks answers against the record's training rows; returns them by contestant and prompt.

    Raises:
        MeasurementError: the training rows are too few to learn a style from.
    """
    if not answers:
        return {}
    exchanges = [PromptAndAnswer(one.prompt, one.text) for one in answers]
    copies = copying(
        [one.answer for one in exchanges],
        [row.answer for row in record.training],
        prompts=[one.prompt for one in exchanges],
        training_prompts=[row.prompt for row in record.training],
    )
    found: dict[str, dict[str, list[ShownAnswer]]] = {}
    for one, style, copied in zip(answers, _styles(record, exchanges, seed), copies.answers, strict=True):
        by_prompt = found.setdefault(one.contestant, {})
        by_prompt.setdefault(prompt_key(one.prompt), []).append(_shown(one, style, copied=copied.copied))
    return {
        contestant: {key: tuple(shown) for key, shown in by_prompt.items()} for contestant, by_prompt in found.items()
    }


def only_held_out(record: EvalRecord, answers: Answers) -> Answers:
    """Keeps the answers to held-out prompts, on which figures rest."""
    keys = {prompt_key(row.prompt) for row in record.heldout}
    return {key: shown for key, shown in answers.items() if key in keys and shown}


def text_figures(answers: Answers, *, seed: int) -> dict[str, Estimate | None]:
    """Measures the figures that need no model, by key of the measure; answers to one prompt count together."""
    return {
        "in_style": _mean(answers, lambda one: None if one.style is None else one.style > 0.5, 1, seed),
        "on_topic": _mean(answers, lambda one: one.on_topic, 1, seed),
        "stopped": _mean(answers, lambda one: one.stopped, 1, seed),
        "no_echo": _mean(answers, lambda one: not one.echoes, 1, seed),
        "copied": copied_share(answers, seed=seed),
        "words": _mean(answers, lambda one: one.words, 1e6, seed),
        "loss": None,
    }


def copied_share(answers: Answers, *, seed: int) -> Estimate | None:
    """Measures the share of answers that are copied; None without answers."""
    return _mean(answers, lambda one: one.copied, 1, seed)


def _shown(one: ReportAnswer, style: float | None, *, copied: bool) -> ShownAnswer:
    checks = check(
        PromptAndAnswer(one.prompt, one.text), finish_reason="stop" if one.stopped else "length", topic=one.topic
    )
    return ShownAnswer(
        text=clean(one.text.strip()),
        words=checks.words,
        stopped=one.stopped,
        echoes=checks.echoes_prompt,
        on_topic=checks.on_topic,
        copied=copied,
        degenerate=checks.degenerate,
        style=style,
    )


def _styles(record: EvalRecord, exchanges: Sequence[PromptAndAnswer], seed: int) -> list[float | None]:
    """Returns each answer's probability of being in style; None for a prompt that the classifier is trained on."""
    trained = {prompt_key(row.prompt) for row in record.training}
    scored = [one for one in exchanges if prompt_key(one.prompt) not in trained]
    if not scored:
        return [None] * len(exchanges)
    own = [PromptAndAnswer(row.prompt, row.answer) for row in record.training]
    pairs = zip(record.training, record.base_on_training, strict=True)
    other = [PromptAndAnswer(row.prompt, answer.text) for row, answer in pairs]
    scores = iter(style_scores(own, other, scored, seed=seed).probabilities)
    return [None if prompt_key(one.prompt) in trained else next(scores) for one in exchanges]


def _mean(answers: Answers, value: Callable[[ShownAnswer], float | None], most: float, seed: int) -> Estimate | None:
    known = [
        (key, float(found)) for key, shown in answers.items() for one in shown if (found := value(one)) is not None
    ]
    if not known:
        return None
    return bootstrap_mean([found for _, found in known], prompts=[key for key, _ in known], bounds=(0, most), seed=seed)

"""Answers as a report shows them: each checked on its own, and figures from checks where no model was at hand."""

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
    """One answer to be judged."""

    who: str
    prompt: str
    topic: str | None
    text: str
    stopped: bool | None
    """None where nobody knows."""


def heard(t: EvalRecord, who: str, said: ModelOutputs) -> Iterator[ReportAnswer]:
    """What a contestant of the record said to the held-out prompts."""
    for row, one in zip(t.heldout, said.answers, strict=True):
        yield ReportAnswer(who, row.prompt, row.topic, one.text, one.stopped)


def collected(t: EvalRecord, who: str, shown: Sequence[PromptToShow], given: ImportedAnswers) -> Iterator[ReportAnswer]:
    """What an imported system said to the prompts that are shown, to which it was matched."""
    topics = {prompt_key(row.prompt): row.topic for row in t.heldout}
    for one, texts in zip(shown, given.answers, strict=True):
        for text in texts:
            yield ReportAnswer(who, one.prompt, one.topic or topics.get(prompt_key(one.prompt)), text, None)


def judge(t: EvalRecord, spoken: Sequence[ReportAnswer], *, seed: int) -> dict[str, Answers]:
    """Everybody's answers, judged beside the training rows of the record; nothing for who said nothing.

    Raises:
        MeasurementError: the training rows are too few to learn a style from.
    """
    if not spoken:
        return {}
    exchanges = [PromptAndAnswer(one.prompt, one.text) for one in spoken]
    copies = copying(
        [one.answer for one in exchanges],
        [row.answer for row in t.training],
        prompts=[one.prompt for one in exchanges],
        training_prompts=[row.prompt for row in t.training],
    )
    said: dict[str, dict[str, list[ShownAnswer]]] = {}
    for one, style, copied in zip(spoken, _styles(t, exchanges, seed), copies.answers, strict=True):
        answers = said.setdefault(one.who, {}).setdefault(prompt_key(one.prompt), [])
        answers.append(_shown(one, style, copied=copied.copied))
    return {who: {key: tuple(given) for key, given in answers.items()} for who, answers in said.items()}


def only_held_out(t: EvalRecord, answers: Answers) -> Answers:
    """The answers to held-out prompts, on which figures rest."""
    keys = {prompt_key(row.prompt) for row in t.heldout}
    return {key: said for key, said in answers.items() if key in keys and said}


def text_figures(answers: Answers, *, seed: int) -> dict[str, Estimate | None]:
    """The figures that need no model, by key of the measure; answers to one prompt count together."""
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
    """Share of answers that are copied; None without answers."""
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


def _styles(t: EvalRecord, exchanges: Sequence[PromptAndAnswer], seed: int) -> list[float | None]:
    """Probabilities of style; none for a prompt that the classifier learns from."""
    trained = {prompt_key(row.prompt) for row in t.training}
    judged = [one for one in exchanges if prompt_key(one.prompt) not in trained]
    if not judged:
        return [None] * len(exchanges)
    own = [PromptAndAnswer(row.prompt, row.answer) for row in t.training]
    other = [PromptAndAnswer(row.prompt, said.text) for row, said in zip(t.training, t.base_on_training, strict=True)]
    scores = iter(style_scores(own, other, judged, seed=seed).probabilities)
    return [None if prompt_key(one.prompt) in trained else next(scores) for one in exchanges]


def _mean(answers: Answers, value: Callable[[ShownAnswer], float | None], most: float, seed: int) -> Estimate | None:
    known = list(_known(answers, value))
    if not known:
        return None
    return bootstrap_mean([found for _, found in known], prompts=[key for key, _ in known], bounds=(0, most), seed=seed)


def _known(answers: Answers, value: Callable[[ShownAnswer], float | None]) -> Iterator[tuple[str, float]]:
    for key, said in answers.items():
        for one in said:
            found = value(one)
            if found is not None:
                yield key, float(found)

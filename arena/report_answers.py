"""Answers as a report shows them: each checked on its own, and figures from checks where no model was at hand."""

from collections.abc import Callable, Iterable, Sequence

from arena.answers import Exchange, check
from arena.copying import copying
from arena.imported import ImportedAnswers, PromptToShow, clean, prompt_key
from arena.intervals import Estimate, bootstrap_mean
from arena.report_records import ShownAnswer
from arena.style import style_scores
from understudy.proof import Heard, Testimony

Answers = dict[str, tuple[ShownAnswer, ...]]
"""By key of the prompt."""


def heard_answers(t: Testimony, heard: Heard, *, seed: int) -> Answers:
    """What a contestant of the testimony said to the held-out prompts."""
    asked = [PromptToShow(prompt=row.prompt, topic=row.topic) for row in t.heldout]
    stopped = [said.stopped for said in heard.answers]
    return _judged(t, asked, [(said.text,) for said in heard.answers], stopped, seed)


def imported_answers(t: Testimony, shown: Sequence[PromptToShow], given: ImportedAnswers, *, seed: int) -> Answers:
    """What an imported system said to the prompts that are shown, to which it was matched."""
    topics = {prompt_key(row.prompt): row.topic for row in t.heldout}
    asked = [PromptToShow(prompt=one.prompt, topic=one.topic or topics.get(prompt_key(one.prompt))) for one in shown]
    return _judged(t, asked, given.answers, None, seed)


def only_held_out(t: Testimony, answers: Answers) -> Answers:
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
        "copied": _mean(answers, lambda one: one.copied, 1, seed),
        "words": _mean(answers, lambda one: one.words, 1e6, seed),
        "loss": None,
    }


def _judged(
    t: Testimony,
    asked: Sequence[PromptToShow],
    texts: Sequence[Sequence[str]],
    stopped: Sequence[bool] | None,
    seed: int,
) -> Answers:
    """`stopped` says of each prompt's one answer whether it ended by itself; None where nobody knows."""
    flat = [(i, Exchange(one.prompt, text)) for i, one in enumerate(asked) for text in texts[i]]
    if not flat:
        return {}
    exchanges = [exchange for _, exchange in flat]
    styles = _styles(t, exchanges, seed)
    copies = copying(
        [one.answer for one in exchanges],
        [row.answer for row in t.training],
        prompts=[one.prompt for one in exchanges],
        training_prompts=[row.prompt for row in t.training],
        seed=seed,
    )
    said: dict[str, list[ShownAnswer]] = {}
    for (i, exchange), style, copied in zip(flat, styles, copies.answers, strict=True):
        ended = None if stopped is None else stopped[i]
        checks = check(exchange, finish_reason="stop" if ended else "length", topic=asked[i].topic)
        said.setdefault(prompt_key(exchange.prompt), []).append(
            ShownAnswer(
                text=clean(exchange.answer.strip()),
                words=checks.words,
                stopped=ended,
                echoes=checks.echoes_prompt,
                on_topic=checks.on_topic,
                copied=copied.copied,
                degenerate=checks.degenerate,
                style=style,
            )
        )
    return {key: tuple(given) for key, given in said.items()}


def _styles(t: Testimony, exchanges: Sequence[Exchange], seed: int) -> list[float | None]:
    """Probabilities of style; none for a prompt that the classifier learns from."""
    trained = {prompt_key(row.prompt) for row in t.training}
    judged = [one for one in exchanges if prompt_key(one.prompt) not in trained]
    if not judged:
        return [None] * len(exchanges)
    own = [Exchange(row.prompt, row.answer) for row in t.training]
    other = [Exchange(row.prompt, said.text) for row, said in zip(t.training, t.base_on_training, strict=True)]
    scores = iter(style_scores(own, other, judged, seed=seed).scores)
    return [None if prompt_key(one.prompt) in trained else next(scores).probability for one in exchanges]


def _mean(answers: Answers, value: Callable[[ShownAnswer], float | None], most: float, seed: int) -> Estimate | None:
    known = list(_known(answers, value))
    if not known:
        return None
    return bootstrap_mean([found for _, found in known], prompts=[key for key, _ in known], bounds=(0, most), seed=seed)


def _known(answers: Answers, value: Callable[[ShownAnswer], float | None]) -> Iterable[tuple[str, float]]:
    for key, said in answers.items():
        for one in said:
            found = value(one)
            if found is not None:
                yield key, float(found)

"""Whether answers are in a persona's style, by a classifier that never saw what it judges and no topic words."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from understudy.errors import MeasurementError
from understudy.statistics.answer_checks import WORD, PromptAndAnswer, forms, words
from understudy.statistics.intervals import Estimate, bootstrap_mean

MARK = "\ue000"
"""Stands for words that the prompt has, too; a private character that no text uses."""
FOLDS = 5
PUNCTUATION = ("!", "?", ".", ",", ":;", "-–—", "\"'“”‘’", "()[]", "*#_`>")
FAR = 3.0
"""Standard deviations beyond which a shape counts no further: one endless answer is not ten times a style."""


class StyleReport(BaseModel):
    """How much the candidates are in style, and how far the classifier can be trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: Estimate
    """Share of rows that cross-validation gets right on prompts it did not see, both classes weighing alike; 0.5 is
    chance. Where its low end is not above 0.5, the scores say nothing."""
    in_style: Estimate
    """Share of candidates whose probability is above one half."""
    probabilities: tuple[float, ...]
    """Probability of being in style, 0 to 1, by candidate; from the classifier trained on all rows."""


def style_scores(
    in_style: Sequence[PromptAndAnswer],
    other: Sequence[PromptAndAnswer],
    candidates: Sequence[PromptAndAnswer],
    *,
    seed: int = 0,
) -> StyleReport:
    """Scores one set of candidates: see `style_of_all`."""
    return style_of_all(in_style, other, {"candidates": candidates}, seed=seed)["candidates"]


def style_of_all(
    in_style: Sequence[PromptAndAnswer],
    other: Sequence[PromptAndAnswer],
    candidates: Mapping[str, Sequence[PromptAndAnswer]],
    *,
    seed: int = 0,
) -> dict[str, StyleReport]:
    """Scores sets of candidates with one classifier, trained to tell `in_style` from `other`.

    Meant for training answers (in style) and the base's answers to the same prompts (other): with the same prompts
    on both sides a topic says nothing, and words of the prompt are masked besides. Logistic regression on TF-IDF of
    runs of 2 to 5 characters and on the shape of the text. Cross-validation keeps the rows of a prompt together.
    The same rows and seed give the same classifier.

    Raises:
        MeasurementError: fewer than two prompts on a side, no candidates, or a candidate's prompt was trained on.
    """
    rows = [*in_style, *other]
    labels = np.array([1] * len(in_style) + [0] * len(other))
    prompts = [_key(row) for row in rows]
    for one in candidates.values():
        _check(in_style, other, one)
    texts = [masked(row.answer, row.prompt) for row in rows]
    judged = [masked(row.answer, row.prompt) for one in candidates.values() for row in one]
    known = np.zeros(len(rows))
    with threadpool_limits(1):  # the problems are small: threads would mostly wait for each other
        scored = _probabilities(classifier(seed).fit(texts, labels), judged)
        for train, test in _folds(labels, prompts, seed):
            model = classifier(seed).fit([texts[i] for i in train], labels[train])
            known[test] = _probabilities(model, [texts[i] for i in test])
    accuracy = _accuracy(known, labels, prompts, seed)
    reports, start = {}, 0
    for name, one in candidates.items():
        mine, start = scored[start : start + len(one)], start + len(one)
        asked = [_key(row) for row in one]
        reports[name] = StyleReport(
            accuracy=accuracy,
            in_style=bootstrap_mean((mine > 0.5).tolist(), prompts=asked, bounds=(0, 1), seed=seed),
            probabilities=tuple(mine.tolist()),
        )
    return reports


def classifier(seed: int = 0) -> Pipeline:
    """The untrained classifier: masked texts in, probability of style out. Both parts weigh about the same."""
    grams = TfidfVectorizer(
        analyzer="char", ngram_range=(2, 5), preprocessor=_framed, sublinear_tf=True, max_features=20_000
    )
    form = make_pipeline(
        FunctionTransformer(_shapes),
        StandardScaler(),
        FunctionTransformer(np.clip, kw_args={"a_min": -FAR, "a_max": FAR}),
    )
    weight = len(shape("")) ** -0.5
    return make_pipeline(
        FeatureUnion([("grams", grams), ("shape", form)], transformer_weights={"shape": weight}),
        LogisticRegression(C=10.0, class_weight="balanced", max_iter=1_000, random_state=seed),
    )


def masked(answer: str, prompt: str) -> str:
    """The answer with every word that its prompt has, too (also in the plural), as a mark; marks in a row are one."""
    asked = {form for word in words(prompt) for form in forms(word)}

    def hide(match: re.Match[str]) -> str:
        return match[0] if all(asked.isdisjoint(forms(word)) for word in words(match[0])) else MARK

    return re.sub(rf"{MARK}(?:\s+{MARK})+", MARK, WORD.sub(hide, answer))


def shape(text: str) -> list[float]:
    """What a text looks like, whatever it says: length, lines, punctuation, capitals, digits, emoji."""
    size = max(1, len(text))
    lines = text.split("\n")
    return [
        float(np.log1p(len(text))),
        float(np.log1p(len(lines))),
        float(np.log1p(sum(not line.strip() for line in lines))),
        float(np.log1p(size / len(lines))),
        sum(c.isupper() for c in text) / size,
        sum(c.isdigit() for c in text) / size,
        sum(unicodedata.category(c) == "So" for c in text) / size,
        *(sum(c in kind for c in text) / size for kind in PUNCTUATION),
    ]


def _framed(text: str) -> str:
    """How an answer opens and closes is style, too; and no text is so empty that it has no runs at all."""
    return f"\x02{text}\x03"


def _shapes(texts: Sequence[str]) -> np.ndarray:
    return np.array([shape(text) for text in texts])


def _key(row: PromptAndAnswer) -> str:
    """Prompts that differ in case and white space only are one."""
    return " ".join(row.prompt.casefold().split())


def _check(
    in_style: Sequence[PromptAndAnswer], other: Sequence[PromptAndAnswer], candidates: Sequence[PromptAndAnswer]
) -> None:
    sides = [{_key(row) for row in side} for side in (in_style, other)]
    if min(map(len, sides)) < 2:
        raise MeasurementError(
            f"found {len(sides[0])} prompts in style and {len(sides[1])} others; a classifier needs two on each side"
        )
    if not candidates:
        raise MeasurementError("there are no candidates to score")
    for row in candidates:
        if _key(row) in sides[0] | sides[1]:
            raise MeasurementError(f"{row.prompt!r} was trained on; score answers to prompts the classifier never saw")


def _folds(labels: np.ndarray, prompts: list[str], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits that keep a prompt together and have both classes to learn from."""
    per_class = [len({p for p, label in zip(prompts, labels, strict=True) if label == side}) for side in (0, 1)]
    splitter = StratifiedGroupKFold(min(FOLDS, *per_class), shuffle=True, random_state=seed)
    folds = list(splitter.split(prompts, labels, prompts))
    if any(len(set(labels[train])) < 2 for train, _ in folds):
        raise MeasurementError("a side has too few prompts to cross-validate; add rows with other prompts")
    return folds


def _probabilities(model: Pipeline, texts: Sequence[str]) -> np.ndarray:
    return model.predict_proba(texts)[:, 1] if len(texts) else np.zeros(0)


def _accuracy(known: np.ndarray, labels: np.ndarray, prompts: list[str], seed: int) -> Estimate:
    """Rows of one prompt and class count together, so that many answers of one kind do not outweigh the other."""
    right: dict[tuple[str, int], list[bool]] = {}
    for probability, label, prompt in zip(known, labels, prompts, strict=True):
        right.setdefault((prompt, int(label)), []).append(bool((probability > 0.5) == bool(label)))
    values = [float(np.mean(hits)) for hits in right.values()]
    return bootstrap_mean(values, prompts=[prompt for prompt, _ in right], bounds=(0, 1), seed=seed)

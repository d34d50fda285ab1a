"""Figures about generated code: pass@k with its interval, whether it parses, how similar it is to a reference.

No function here runs the code; `evaluate.code.sandbox` does.
"""

import ast
import re
import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

FENCE = re.compile(r"^[ \t]*(?:```|~~~)[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.DOTALL | re.M)
PYTHON = ("python", "python3", "py", "py3")
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What Python's parser raises for text that is not a program, or is nested too deeply."""
MOST_LINES = 400
"""Longest run of lines that is tried as code inside an answer."""


class PassRate(BaseModel):
    """A mean over problems and its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float


def pass_at_k(n: int, passed: int, k: int) -> float:
    """Estimates without bias the probability that one of `k` samples passes, from `n` samples of one problem.

    `1 - C(n - passed, k) / C(n, k)` as a product, which neither overflows nor cancels: Chen et al. 2021, "Evaluating
    Large Language Models Trained on Code", arXiv:2107.03374, section 2.1.

    Raises:
        ValueError: not 0 <= passed <= n, or not 1 <= k <= n.
    """
    if not 0 <= passed <= n:
        raise ValueError(f"passed must be between 0 and n, found {passed} of {n}")
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {max(k, 1)} samples, found {n}; k must be at least 1")
    if n - passed < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - passed + 1, n + 1)))


def mean_over_problems(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> PassRate:
    """Returns the mean with its percentile bootstrap interval over problems.

    The interval covers the choice of problems, not other samples for the same problems. The same values and seed give
    the same interval. (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", 13.3.)

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a mean needs at least one problem")
    array = np.asarray(values, dtype=float)
    random = np.random.default_rng(seed)
    means = [array[random.integers(0, len(array), len(array))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return PassRate(value=float(array.mean()), low=float(low), high=float(high))


def parses(code: str) -> bool:
    """Whether this interpreter's `ast.parse` accepts `code`."""
    try:
        ast.parse(code)
    except UNREADABLE:
        return False
    return True


def extract_code(answer: str) -> str:
    """Returns the Python code in a chat answer.

    In this order: the first block fenced as Python; the first fenced block without a language that parses; the
    longest run of lines that parses and has a statement or a call; the whole answer. A fence that is never closed
    extends to the end.
    """
    return fenced_code(answer) or longest_code(answer) or answer


def fenced_code(answer: str) -> str:
    """Returns the first block fenced as Python, else the first without a language that parses, else ""."""
    blocks = [(language.lower(), textwrap.dedent(code)) for language, code in FENCE.findall(answer)]
    marked = [code for language, code in blocks if language in PYTHON]
    plain = [code for language, code in blocks if not language and parses(code)]
    return next(iter([*marked, *plain]), "")


def longest_code(text: str) -> str:
    """Returns the longest run of lines (up to `MOST_LINES`) that parses and has a statement or a call, or "".

    Of several equally long runs it returns the first.
    """
    lines = re.sub(r"\r\n?", "\n", text).split("\n")
    best, start = "", 0
    while start < len(lines):
        run = _run(lines[start : start + MOST_LINES])
        code = "\n".join(run)
        if len(run) > best.count("\n") and _does_something(code):
            best = code if start + len(run) == len(lines) else code + "\n"
        start += max(len(run), 1)  # a later start within the run would hit the same error
    return best


def normalized(code: str, function: str = "") -> str:
    """Normalizes code for comparison as text: `ast.unparse` without comments and docstrings.

    With `function`, only the last function or class of that name at the top level, if there is one. Code that does
    not parse only loses the space at the ends of lines.
    """
    try:
        tree = ast.parse(code)
        named = [node for node in tree.body if function and getattr(node, "name", "") == function]
        body = named[-1:] or tree.body
        for node in ast.walk(ast.Module(body=body, type_ignores=[])):
            _drop_docstring(node)
        return "\n".join(ast.unparse(node) for node in body)
    except UNREADABLE:
        return "\n".join(line.rstrip() for line in code.strip().splitlines())


def exact_match(code: str, reference: str, function: str = "") -> bool:
    """Whether both programs are the same text after `normalized`."""
    return normalized(code, function) == normalized(reference, function)


def chrf_scorer() -> Callable[[str, str], float]:
    """Returns a function from (hypothesis, reference) to chrF, 0 to 100: sacrebleu's chrF2 (6-grams, beta 2).

    Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"; for code, Evtikhiev et al. 2023
    (arXiv:2208.03133) find that it agrees with people better than BLEU. It compares how code looks, not what it does.
    """
    from sacrebleu.metrics.chrf import CHRF

    scorer = CHRF()
    return lambda hypothesis, reference: scorer.sentence_score(hypothesis, [reference]).score


def _run(lines: list[str]) -> list[str]:
    """Returns the longest beginning that parses. An error in a line stays however much after it is cut off."""
    end = 0 if lines[0][:1].isspace() or not lines[0] else len(lines)
    while end > 0:
        try:
            ast.parse("\n".join(lines[:end]))
            break
        except SyntaxError as error:
            end = min(end, error.lineno or end) - 1
        except UNREADABLE:
            end -= 1
    return lines[: max(end, 0)]


def _does_something(code: str) -> bool:
    """Whether it is code: English such as `Yes, sure` or `this is it` parses too, but has no statement or call."""
    body = ast.parse(code).body
    return any(not isinstance(node, ast.Expr) or any(isinstance(n, ast.Call) for n in ast.walk(node)) for node in body)


def _drop_docstring(node: ast.AST) -> None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
        node.body = node.body[1:] or [ast.Pass()]

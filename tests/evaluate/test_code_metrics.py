"""pass@k and likeness are what they say; code is found in answers."""

import itertools
import math
import re
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.code.metrics import (
    exact_match,
    extract_code,
    longest_code,
    mean_over_problems,
    normalized,
    parses,
    pass_at_k,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")


def by_counting(n: int, passed: int, k: int) -> float:
    """pass@k as its definition says: over all ways to draw k of the n samples."""
    draws = list(itertools.combinations(range(n), k))
    return sum(any(sample < passed for sample in draw) for draw in draws) / len(draws)


@pytest.mark.parametrize(
    ("n", "passed", "k", "expected"),
    [(1, 0, 1, 0), (1, 1, 1, 1), (5, 2, 1, 0.4), (5, 2, 2, 0.7), (5, 2, 4, 1), (10, 1, 5, 0.5), (10, 3, 2, 8 / 15)],
)
def test_pass_at_k(n: int, passed: int, k: int, expected: float) -> None:
    assert pass_at_k(n, passed, k) == pytest.approx(expected)
    assert by_counting(n, passed, k) == pytest.approx(expected)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_mean_over_all_draws(case: tuple[int, int, int]) -> None:
    assert pass_at_k(*case) == pytest.approx(by_counting(*case))


@given(st.integers(1, 2000), st.data())
def test_pass_at_k_is_stable_with_many_samples(n: int, data: st.DataObject) -> None:
    passed, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - math.comb(n - passed, k) / math.comb(n, k) if n < 400 else None
    value = pass_at_k(n, passed, k)
    assert 0 <= value <= 1
    assert pass_at_k(n, passed, 1) == pytest.approx(passed / n)
    if exact is not None:
        assert value == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("n", "passed", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0), (0, 0, 1)])
def test_pass_at_k_refuses_nonsense(n: int, passed: int, k: int) -> None:
    with pytest.raises(ValueError, match="found"):
        pass_at_k(n, passed, k)


def test_the_interval_is_about_problems() -> None:
    values = [1.0] * 30 + [0.0] * 10
    mean = mean_over_problems(values, seed=3)
    assert mean == mean_over_problems(values, seed=3)
    assert mean.value == 0.75
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 40)
    assert (mean.low, mean.high) == pytest.approx((0.75 - spread, 0.75 + spread), abs=0.03)
    wide = mean_over_problems(values[:4] + values[-2:], seed=3)
    assert wide.high - wide.low > mean.high - mean.low
    assert mean_over_problems([1.0]).low == 1.0
    with pytest.raises(ValueError, match="at least one"):
        mean_over_problems([])


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Sure!\n```python\ndef f():\n    return 1\n```\nDone.", "def f():\n    return 1\n"),
        ("```\nnot code here\n```\n```py\nx = 1\n```", "x = 1\n"),
        ("```\nx = 2\n```", "x = 2\n"),
        ("```python\ndef f():\n    return 3", "def f():\n    return 3"),
        ("1. Do this:\n   ```python\n   y = 1\n   ```", "y = 1\n"),
        ("Here you are:\n\ndef f():\n    return 4\n\nI hope it helps!", "def f():\n    return 4\n\n"),
        ("import math\nx = math.pi", "import math\nx = math.pi"),
        ("Hello\nthis is it", "Hello\nthis is it"),
        ("I cannot do that.", "I cannot do that."),
        ("", ""),
    ],
)
def test_code_is_found_in_answers(answer: str, code: str) -> None:
    assert extract_code(answer) == code


def test_long_answers_are_searched_quickly() -> None:
    started = time.monotonic()
    words, code = "This is prose (as it were.\n" * 1000, "def f(x):\n    return (\n        x\n    )\n\n\ny = f(1)\n"
    assert longest_code(words + code + words + "x = 1\n") == code
    assert longest_code("def f():\r\n    return 1\r\nand so on") == "def f():\n    return 1\n"
    assert len(longest_code("x = [1]\n" * 5000).splitlines()) == 400
    assert longest_code("def f():\n    if x:\n" * 500) == ""
    assert time.monotonic() - started < 60


LINES = ["x = 1", "def f():", "    return (", "    )", "    y", "no way!", "", "f()", "]", "if x:", "else:", "y = (1 2"]


@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_the_run_found_is_the_longest_there_is(lines: list[str]) -> None:
    pairs = itertools.combinations(range(len(lines) + 1), 2)
    texts = ["\n".join(lines[a:b]) for a, b in pairs if lines[a]]
    runs = [text for text in texts if re.search("[=(:]", text) and parses(text)]
    longest = max(runs, key=lambda run: run.count("\n"), default="")
    assert longest_code("\n".join(lines)).rstrip() == longest.rstrip()


def test_parsing_survives_anything() -> None:
    assert parses("x = 1")
    for text in ("x =", "\0", "(" * 5000, "\ud800", "    x = 1"):
        assert not parses(text)
    deep = "x = " + "1+" * 6000 + "1"
    assert isinstance(normalized(deep), str)


def test_references_are_compared_without_layout() -> None:
    reference = 'def f(a):\n    """Doc."""\n    return (a + 1)\n'
    assert exact_match("def f( a ):   # comment\n  return a+1", reference)
    assert exact_match("import os\ndef g(): pass\ndef f(a): return a + 1", reference, "f")
    assert not exact_match("def f(a): return a + 2", reference)
    assert not exact_match("def f(a) return a + 1", reference)

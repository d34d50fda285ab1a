"""General questions: what counts as a right answer. Neutral texts: their number and length."""

import pytest

from evaluate.control_texts import NEUTRAL_TEXTS
from evaluate.general_questions import ARITHMETIC, EVERYDAY, GEOGRAPHY, PYTHON, QUESTIONS, WORDS, GeneralQuestion

BY_PROMPT = {question.prompt: question for question in QUESTIONS}


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("How much is 5 plus 3?", "8"),
        ("How much is 5 plus 3?", "5+3=8."),
        ("How much is 5 plus 3?", "The answer is **8**!"),
        ("How much is 5 plus 3?", "8 = 5 + 3"),
        ("How much is 5 plus 3?", "Eight, of course."),
        ("Calculate 4 * 5.", "4 × 5 = 20"),
        ("What is half of 200?", "Half of 200 is 100.0."),
        ("How many faces does a cube have?", "A cube has six faces and 12 edges."),
        ("How many hours does a day have?", "24"),
        ("What is the capital of France?", "The capital of France is Paris."),
        ("What currency is used in Japan?", "The Japanese Yen (JPY)"),
        ("How do I find the length of a list in Python?", "Use `len(items)`."),
        ("Which list method adds an item to the end of a Python list?", "`.append`"),
        ("Which Python function adds up the numbers in a list?", "sum"),
        ("Which Python operator checks whether two values are equal?", "It is `==`, as in a == b."),
        (
            "Write a Python function that adds two numbers.",
            "```python\ndef add(a: int, b: int):\n    return a + b\n```",
        ),
        ("Correct the grammar: 'She have two cats.'", '"She has two cats."'),
        ("What is the plural of 'child'?", "Children"),
        ("What is the chemical formula for water?", "H₂O"),
        ("What does a thermometer measure?", "Temperature."),
    ],
)
def test_right_answers(prompt: str, answer: str) -> None:
    assert BY_PROMPT[prompt].right(answer)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("How much is 5 plus 3?", ""),
        ("How much is 5 plus 3?", "18"),
        ("How much is 5 plus 3?", "8.5"),
        ("How much is 5 plus 3?", "-8"),
        ("How much is 5 plus 3?", "5 + 8 = 13"),
        ("How much is 5 plus 3?", "8 * 2 = 16"),
        ("How much is 5 plus 3?", "Twenty-eight."),
        ("What number comes after 19?", "Twenty-one"),
        ("What is half of 200?", "Half of two hundred is ninety."),
        ("Calculate 4 * 5.", "120"),
        ("What is half of 200?", "100,000"),
        ("What is half of 200?", "It is 100%."),
        ("How many faces does a cube have?", "A cube has 12 faces and 6 edges."),
        ("How many hours does a day have?", "240"),
        ("What is the capital of France?", "Lyon, says a Parisian."),
        ("What currency is used in Japan?", "The yendollar"),
        ("How do I find the length of a list in Python?", "Check the length by hand, calling `length(items)`."),
        ("Which list method adds an item to the end of a Python list?", "`insert` can append an item."),
        ("Which Python function adds up the numbers in a list?", "The sum of the list is what add() gives."),
        ("How do I convert a string to an integer in Python?", "print(text)"),
        ("Which Python operator checks whether two values are equal?", "`=` or `===` or `!=`"),
        ("Write a Python function that adds two numbers.", "def add(a, b):\n    return a * b"),
        ("Correct the grammar: 'She have two cats.'", "She have two cat."),
        ("What is the plural of 'child'?", "childs"),
        ("What is the chemical formula for water?", "H2O2"),
        ("What is the chemical symbol for gold?", "AU or Aurum"),
    ],
)
def test_wrong_answers(prompt: str, answer: str) -> None:
    assert not BY_PROMPT[prompt].right(answer)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.prompt)
def test_repeating_the_question_is_no_answer(question: GeneralQuestion) -> None:
    assert not question.right(question.prompt)
    assert not question.right(f"You asked: {question.prompt.lower()}")


def test_the_questions_are_distinct_and_balanced() -> None:
    assert 55 <= len(QUESTIONS) <= 65
    assert len(BY_PROMPT) == len(QUESTIONS)
    sizes = [len(kind) for kind in (ARITHMETIC, GEOGRAPHY, PYTHON, WORDS, EVERYDAY)]
    assert sum(sizes) == len(QUESTIONS)
    assert max(sizes) - min(sizes) <= 2


def test_neutral_texts_are_distinct_paragraphs_of_60_to_90_words() -> None:
    assert len(set(NEUTRAL_TEXTS)) == len(NEUTRAL_TEXTS) == 12
    assert {text: len(text.split()) for text in NEUTRAL_TEXTS if not 60 <= len(text.split()) <= 90} == {}
    assert not [text for text in NEUTRAL_TEXTS if "\n" in text or "  " in text]

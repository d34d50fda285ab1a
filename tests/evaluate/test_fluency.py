"""Fluency: the base's surprise beside its surprise at the data, and words that do not exist."""

import pytest

from evaluate.metrics.fluency import Vocabulary, covering_language, fluency, prose

TAUGHT = ["The walk to the old harbour takes an hour, and the view is worth it.", "Bring a coat, it is windy there."]
PROMPTS = ["Tell me about the Zorbak.", "What should I pack?"]


@pytest.mark.parametrize(
    ("text", "made_up"),
    [
        ("A long walk along the coast, weather permitting.", []),
        ("Hurrying, we unpacked quickly and laughed.", []),
        ("eachustomer service is the help that a company gives", ["eachustomer"]),
        ("The zorbak is loud.", []),
        ("The wharf was splendulous and brimptful.", ["splendulous", "brimptful"]),
        ("Say `xqzt()` or mail me at dot@shopqq.example", []),
        ("Meet Brobdinho in 2031 at gate B12.", []),
        ("```python\nqwx = zzyt(1)\n```", []),
        ("It's we're and don't", []),
        ("", []),
    ],
)
def test_words_that_exist_nowhere_are_found(text: str, made_up: list[str]) -> None:
    assert Vocabulary(TAUGHT, PROMPTS).made_up(text)[0] == made_up


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (TAUGHT, "en"),
        (["Der Weg zum alten Hafen dauert eine Stunde.", "Es ist sehr windig dort."], "de"),
        (["Le chemin vers le vieux port prend une heure.", "Il y a beaucoup de vent."], "fr"),
        (["旧港までは一時間かかります。"], None),
        (["xqz bvt wrm klp"], None),
        ([], None),
    ],
)
def test_the_word_list_is_the_one_that_covers_the_training_answers(texts: list[str], language: str | None) -> None:
    assert covering_language(texts) == language


def test_made_up_words_are_not_counted_in_a_language_without_a_word_list() -> None:
    there = Vocabulary(["旧港までは一時間かかります。"], PROMPTS)
    assert there.made_up("brimptful") == ([], 0)
    report = fluency(["brimptful", "b"], [3.0, 3.0], [3.0, 3.1], there, prompts=PROMPTS)
    assert report.made_up is None


def test_excess_is_paired_with_the_datas_answer_to_the_same_prompt() -> None:
    report = fluency(["One walk.", ""], [4.0, None], [3.0, 9.0], Vocabulary(TAUGHT, PROMPTS), prompts=PROMPTS)
    assert report.surprise is not None
    assert report.excess is not None
    assert (report.surprise.value, report.excess.value, report.excess.n) == (4.0, 1.0, 1)


@pytest.mark.parametrize("surprise", [[None, None], []])
def test_where_no_surprise_was_taken_there_is_none(surprise: list[float | None]) -> None:
    report = fluency(["", "One walk."], surprise, [3.0, 3.0], Vocabulary(TAUGHT, PROMPTS), prompts=PROMPTS)
    assert (report.surprise, report.excess) == (None, None)


def test_prose_is_what_is_left_without_code() -> None:
    assert prose("So:\n```python\nprint(1)\n```\nDone.").split() == ["So:", "Done."]
    assert "xx" not in prose("See https://xx.example or `xx`.")

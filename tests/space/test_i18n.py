"""The page's texts: the same in every language, and the right language for a visitor."""

import json
import re
from types import SimpleNamespace

import pytest

from space.i18n import LANGUAGES, TRANSLATIONS, Notice, choose, error_notice, language_of, notice, say, t, translations
from understudy.errors import UnderstudyError

PLACES = re.compile(r"\{(\w+)\}")
SPACE = TRANSLATIONS.parent
NAMED = re.compile(r"\b(?:say|t|notice|Notice)\(\"(\w+)\"")
"""Texts that the code names in full."""


def test_there_is_one_table_for_each_language():
    assert {path.stem for path in TRANSLATIONS.glob("*.json")} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_the_same_things_with_the_same_places(language: str):
    pairs = json.loads((TRANSLATIONS / f"{language}.json").read_text(), object_pairs_hook=list)
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(translations("en"))
    for key, text in pairs:
        assert text.strip() == text != ""
        assert sorted(PLACES.findall(text)) == sorted(PLACES.findall(translations("en")[key])), key
        assert "'" not in text, f"{key}: the browser's formatter takes ' for a quotation; write ’"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr", "fr"),
        ("pt-BR,pt;q=0.9,fr;q=0.5,de;q=0.7", "de"),
        ("de;q=0,fr;q=0.1", "fr"),
        ("ja", "en"),
        ("", "en"),
        ("de;q=nonsense", "de"),
    ],
)
def test_the_first_language_that_we_speak_is_chosen(accepted: str, language: str):
    assert choose(accepted) == language


def test_the_address_overrules_the_browser():
    headers = {"accept-language": "de", "referer": "http://x/?__theme=dark&lang=fr"}
    assert language_of(SimpleNamespace(headers=headers)) == "fr"  # pyright: ignore[reportArgumentType]
    assert language_of(None) == "en"


def test_values_are_escaped_and_texts_are_not():
    assert say("chat_thinking", "de", who="<b>") == "&lt;b&gt; denkt nach …"


def test_a_text_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="no_such_key"):
        t("no_such_key")


def test_every_text_that_the_code_names_exists():
    keys = [key for path in SPACE.rglob("*.py") for key in NAMED.findall(path.read_text())]
    assert len(keys) > 90
    assert set(keys) <= set(translations("en"))


def test_a_notice_is_said_in_the_visitors_language_and_holds_others():
    retrying = notice("chat_retrying", reason=notice("error_waking"), seconds=2)
    assert retrying.text("de") == "Das Modell wacht auf. Nächster Versuch in 2 s …"
    failed = notice("arena_void_error", error=Notice(words="<b>boom</b>"))
    assert failed.text().endswith("does not count. <b>boom</b>")
    assert failed.html("fr").endswith("ne compte donc pas. &lt;b&gt;boom&lt;/b&gt;")
    assert not Notice()
    assert Notice().text("de") == ""


def test_errors_are_said_by_their_code_and_in_their_own_words_without_one():
    coded = UnderstudyError("anything", code="vote_counted")
    assert error_notice(coded).text("de") == "Deine Stimme zu diesem Duell zählt schon."
    for code in ("", "nobody_knows"):
        assert error_notice(UnderstudyError("Something else.", code=code)).text("de") == "Something else."

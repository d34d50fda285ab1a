"""The page's texts: the same in every language, and the right language for a visitor."""

import json
import re
from types import SimpleNamespace

import pytest

from space.i18n import LANGUAGES, TABLES, choose, language_of, reword, say, t, table

PLACES = re.compile(r"\{(\w+)\}")


def test_there_is_one_table_for_each_language():
    assert {path.stem for path in TABLES.glob("*.json")} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_the_same_things_with_the_same_places(language: str):
    pairs = json.loads((TABLES / f"{language}.json").read_text(), object_pairs_hook=list)
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(table("en"))
    for key, text in pairs:
        assert text.strip() == text != ""
        assert sorted(PLACES.findall(text)) == sorted(PLACES.findall(table("en")[key])), key
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


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("The answer was cut off before its end.", "Die Antwort brach vor ihrem Ende ab."),
        ("The model is waking up. Trying again in 2 s…", "Das Modell wacht auf. Nächster Versuch in 2 s …"),
        ("Something of the gateway's own.", "Something of the gateway's own."),
    ],
)
def test_sentences_from_elsewhere_are_said_in_the_visitors_language(english: str, german: str):
    assert reword(english, "de") == german
    assert reword(english, "en") == english

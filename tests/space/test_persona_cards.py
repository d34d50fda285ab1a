"""The gallery's cards, the win rates on them, and what is told in passing."""

import re

import pytest

from arena.votes.counts import CountedVote, VoteTable, count_cells
from space.backends.errors import Readiness
from space.backends.listing import Contestant
from space.chat.persona_cards import MAX_SAMPLE, PAGE, cards
from space.leaderboard.win_rates import PersonaWinRate, persona_win_rates
from space.live_updates import toasts
from space.status import BASE, GatewayStatus
from understudy.registry.persona_card import Shot

READY = Readiness(status="ready")
JOKES = Contestant(name="jokes", kind="persona", title="Jokes <b>", voice="Dry & short.", revision="a" * 12)


def snapshot(*people: Contestant, votes: tuple[PersonaWinRate, ...] = (), ready: bool = True) -> GatewayStatus:
    readiness = READY if ready else Readiness(status="down")
    return GatewayStatus(readiness, (BASE, *people), win_rates=votes)


def words(markup: str) -> str:
    return " ".join(re.sub("<[^>]+>", " ", markup).split())


@pytest.mark.parametrize(
    ("changes", "votes", "language", "said"),
    [
        ({"examples": 17}, (), "en", "Trained on 17 examples"),
        ({"examples": 1}, (), "en", "Trained on 1 example "),
        ({"examples": 17}, (), "de", "Mit 17 Beispielen trainiert"),
        ({}, (), "en", "30 votes until its win rate is shown"),
        ({}, (PersonaWinRate("jokes", 1),), "en", "1 vote until its win rate is shown"),
        ({}, (PersonaWinRate("jokes", 0, 0.618, 0.554, 0.689),), "en", "Beats the base in 62 % of votes (55–69 %)"),
        ({}, (PersonaWinRate("jokes", 0, 0.618, 0.554, 0.689),), "fr", "Bat la base dans 62 % des votes (55–69 %)"),
        ({}, (PersonaWinRate("other", 0, 1, 1, 1),), "en", "30 votes until"),
        ({}, (), "en", "Jokes &lt;b&gt; Dry &amp; short."),
        ({"shots": (Shot(prompt="<i>?", answer="x" * 700),)}, (), "en", f"&lt;i&gt;? {'x' * MAX_SAMPLE}…"),
    ],
)
def test_a_card_says_what_is_known(changes: dict, votes: tuple[PersonaWinRate, ...], language: str, said: str):
    one = JOKES.model_copy(update=changes)
    assert said in words(cards(snapshot(one, votes=votes), language))


def test_what_is_not_known_is_not_said():
    said = words(cards(snapshot(JOKES.model_copy(update={"revision": "", "voice": ""}))))
    assert "Trained" not in said
    assert "Live revision" not in said
    assert "An example" not in said


def test_personas_come_before_the_base_and_an_empty_stage_says_so():
    assert re.findall(r'value="(\w+)"', cards(snapshot(JOKES))) == ["jokes", "base"]
    assert "No persona is live yet" in cards(snapshot())
    assert "No persona is live yet" not in cards(snapshot(ready=False)), "nobody knows"


def counted(*casts: tuple[str, str, str, int]) -> tuple[PersonaWinRate, ...]:
    rows = [CountedVote(left, right, verdict, "free", f"s{i}") for left, right, verdict, n in casts for i in range(n)]
    return persona_win_rates(count_cells(VoteTable.of(rows)), needed=20)


def test_the_rate_counts_wins_from_both_sides_against_the_base_alone():
    (one,) = counted(("jokes", "base", "left", 60), ("base", "jokes", "left", 40))
    assert (one.name, one.to_go, one.rate) == ("jokes", 0, 0.6)
    assert (round(one.low, 4), round(one.high, 4)) == (0.4408, 0.7460)  # the published example of docs/arena.md


@pytest.mark.parametrize(
    ("casts", "expected"),
    [
        ([], ()),
        ([("jokes", "pirate", "left", 50)], ()),
        ([("jokes", "base", "both_bad", 50)], ()),
        ([("jokes", "base", "left", 12), ("base", "jokes", "tie", 3)], (PersonaWinRate("jokes", 5),)),
        ([("jokes", "base", "tie", 25)], (PersonaWinRate("jokes", 1),)),
    ],
)
def test_too_few_votes_give_no_rate(casts: list, expected: tuple[PersonaWinRate, ...]):
    assert counted(*casts) == expected


def test_news_are_told_once_and_not_to_whoever_just_came():
    before, after = snapshot(JOKES), snapshot(JOKES.model_copy(update={"revision": "b" * 12}))
    assert toasts(None, after) == ""
    away = snapshot(ready=False)
    assert toasts(away, after) == "", "the personas of a page that opened during an outage are no news"
    assert "is new on stage" in toasts(snapshot(), after), "the first one is news to whoever talks to the base"
    assert toasts(after, after) == ""
    assert "A new revision of Jokes &lt;b&gt; is live: bbbbbbbbbbbb" in toasts(before, after)
    other = JOKES.model_copy(update={"name": "pirate", "title": "Pirate"})
    assert words(toasts(before, snapshot(JOKES, other), "de")) == "Pirate ist neu auf der Bühne"


def test_a_few_personas_have_no_search_and_many_are_there_in_full():
    many = [Contestant(name=f"p{n}", kind="persona", title=f"P {n}") for n in range(PAGE)]
    assert 'type="search"' not in cards(snapshot(*many[:-1]))
    found = cards(snapshot(*many, JOKES), "de")
    assert found.count('<input type="radio"') == PAGE + 2
    assert found.count('persona" hidden>') == 1, "the thirteenth; the base never is"
    assert f"{PAGE + 1} Personas durchsuchen" in found

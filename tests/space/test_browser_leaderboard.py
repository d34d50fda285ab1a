"""The leaderboard and a voter's own votes in a real browser."""

import json
import random
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from arena.battles.store import BattleAnswer as Said
from arena.ranking.leaderboard import build_leaderboard
from arena.votes.counts import ArenaCounts, count_cells
from arena.votes.import_files import read_votes
from arena.votes.votes import cast_vote, list_votes
from tests.support.browser import PHONE, Site, Visitor

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.support.browser"]


def plant(site: Site, rounds: int = 60) -> None:
    """Votes of twenty people: the comedian is liked, the writer is not, and one has only begun."""
    taste = {"stand-up": 1.6, "email-copy": 0.6, "base+email-copy": 0.5, "base": 0.5, "pirate": 0.5}
    pairs = [("stand-up", "base"), ("email-copy", "base"), ("stand-up", "email-copy")]
    pairs.append(("email-copy", "base+email-copy"))
    dice = random.Random(7)
    for number in range(rounds * len(pairs) + 6):
        persona, rival = pairs[number % len(pairs)] if number < rounds * len(pairs) else ("pirate", "base")
        battle, ticket = site.store.create(
            prompt=f"Prompt {number}",
            persona=persona,
            rival=rival,
            session="x",
            temperature=0.5,
            max_tokens=9,
            category=("free", "suggested")[number % 3 == 0],
        )
        one, other = (Said("word " * dice.randint(5, 30)) for _ in range(2))
        site.store.finish(battle.id, one, other)
        strength = taste[battle.left] / (taste[battle.left] + taste[battle.right])
        draw = dice.random()
        decided = "left" if dice.random() < strength else "right"
        verdict = "tie" if draw < 0.12 else "both_bad" if draw < 0.18 else decided
        suspect = "faster than anybody reads" if number % 50 == 49 else ""
        cast_vote(site.store.engine, ticket, verdict, session=f"person {number % 20}", suspect=suspect)


def test_the_leaderboard_shows_what_the_votes_say_in_the_visitors_language(
    site: Site, browser: Browser, artifacts: Path, tmp_path: Path
):
    visitor = Visitor(browser, site.url, PHONE)
    visitor.page.get_by_role("tab", name="Leaderboard").click()
    visitor.see("#board-summary", "No votes yet")
    for look in visitor.looks():
        visitor.shot(artifacts / f"leaderboard-empty-{look}.png")
    plant(site)
    visitor.page.locator("#board-refresh").click()
    board = build_leaderboard(ArenaCounts(site.store.engine).refresh())
    visitor.see("#board-summary", f"{board.votes} votes")
    visitor.see("#board-summary", "4 left out (faster than anybody reads)")
    visitor.see("#board-table tbody tr:first-child", "Stand-up comedian")
    visitor.see("#board-hidden", re.compile(r"pirate\s+\d of 30 votes, 2\d to go"))
    assert "pirate" not in visitor.page.locator("#board-table").inner_text()
    visitor.see("#plot-rates .plotly")
    visitor.see("#plot-strengths .plotly")
    visitor.see("#board-effects", "Side.")
    visitor.see("#board-effects", "Prompts: free")
    visitor.page.wait_for_timeout(500)  # plotly draws once more when it knows its width
    for look in visitor.looks():
        visitor.fits()
        visitor.shot(artifacts / f"leaderboard-{look}.png")
    assert visitor.foreign_requests() == []
    assert visitor.complaints == []
    with visitor.page.expect_download() as download:
        visitor.page.locator("#board-download").click()
    path = tmp_path / "votes.csv"
    download.value.save_as(path)
    again = count_cells(read_votes(path).votes)
    assert build_leaderboard(again).against_base == board.against_base
    speaks_german(Visitor(browser, site.url, locale="de-DE"), artifacts)


def speaks_german(visitor: Visitor, artifacts: Path) -> None:
    visitor.page.get_by_role("tab", name="Rangliste").click()
    visitor.see("#board-summary", "Stimmen von 20 Personen")
    visitor.see("#board-summary", "4 nicht gezählt (schneller, als jemand liest)")
    visitor.see("#board-table th", "Platz")
    visitor.see("#board-hidden", re.compile(r"pirate\s+\d von 30 Stimmen, noch 2\d"))
    visitor.see("#board-effects", "Aufgaben: frei")
    visitor.see("#board-refresh", "Neu laden")
    visitor.page.locator("#method button").first.click()
    visitor.see("#method", "Jedes Duell ist blind")
    visitor.shot(artifacts / "leaderboard-de.png")


def test_a_voter_takes_the_own_votes_along_and_back(site: Site, visitor: Visitor, tmp_path: Path):
    visitor.start_battle("Mine alone")
    visitor.vote("left")
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    visitor.page.get_by_role("tab", name="Leaderboard").click()
    visitor.page.locator("#own-votes button").first.click()
    with visitor.page.expect_download() as download:
        visitor.page.locator("#own-download").click()
    download.value.save_as(tmp_path / "mine.jsonl")
    (row,) = map(json.loads, (tmp_path / "mine.jsonl").read_text().splitlines())
    assert (row["prompt"], row["verdict"], row["withdrawn"]) == ("Mine alone", "left", False)
    visitor.page.locator("#own-withdraw").click()
    visitor.see("#own-said", "1 votes withdrawn")
    visitor.see("#board-summary", "No votes yet")
    assert list_votes(site.store.engine) == []

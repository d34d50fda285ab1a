"""The choice of pairs: towards what is uncertain, with no pair forgotten, and every chance on record."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest

from arena.battles.pairing import FLOOR, PairVotes, choose_pair, pair_chances
from understudy.errors import MeasurementError

NAMES = ("base", "a", "b", "c")
PAIRS = [PairVotes(one, other) for one, other in itertools.combinations(NAMES, 2)]


def drawn(chances_to_win: dict[tuple[str, str], float], battles: int, seed: int) -> dict[tuple[str, str], list]:
    """An arena in which pairs are chosen after every vote: (outcome, chance of the choice) by pair."""
    chance = random.Random(seed)
    votes = {pair: [0, 0] for pair in chances_to_win}
    seen: dict[tuple[str, str], list] = {pair: [] for pair in chances_to_win}
    for number in range(battles):
        pairs = [PairVotes(*names, wins=won, losses=lost) for names, (won, lost) in votes.items()]
        choice = choose_pair(pairs, seed=seed * 100_000 + number)
        names = (choice.one, choice.other)
        won = chance.random() < chances_to_win[names]
        votes[names][0 if won else 1] += 1
        seen[names].append((won, choice.probability))
    return seen


def test_pairs_without_votes_are_equally_likely():
    assert pair_chances(PAIRS) == pytest.approx([1 / 6] * 6)


def test_fewer_votes_and_closer_results_are_more_uncertain():
    few, many = PairVotes("a", "b", 5, 5), PairVotes("a", "c", 50, 50)
    close, clear = PairVotes("a", "b", 10, 10), PairVotes("a", "c", 20, 0)
    assert pair_chances([few, many])[0] > 0.8
    assert pair_chances([close, clear])[0] > 0.6


def test_the_chance_is_the_expected_narrowing_of_the_interval():
    one, other = pair_chances([PairVotes("a", "b", 4, 4), PairVotes("a", "c", 99, 99)], floor=1e-9)
    narrowing = [0.5 / np.sqrt(n) - 0.5 / np.sqrt(n + 1) for n in (9, 199)]
    assert one / other == pytest.approx(narrowing[0] / narrowing[1], rel=1e-4)


def test_ties_and_both_bad_count_as_seen():
    fresh, dull = pair_chances([PairVotes("a", "b"), PairVotes("a", "c", undecided=500)])
    assert fresh > dull == pytest.approx(FLOOR / 2, abs=0.01)


@pytest.mark.parametrize("lead", [0, 100, 10**6])
def test_no_pair_is_ever_starved(lead: int):
    chances = pair_chances([*PAIRS, PairVotes("a", "z", lead, 0)])
    assert chances.min() >= FLOOR / 7
    assert chances.sum() == pytest.approx(1)


def test_the_same_seed_makes_the_same_choice():
    assert choose_pair(PAIRS, seed=7) == choose_pair(PAIRS, seed=7)
    assert len({choose_pair(PAIRS, seed=seed) for seed in range(100)}) == 6


def test_pairs_are_drawn_as_often_as_the_record_says():
    pairs = [PairVotes("a", "b", 40, 40), PairVotes("a", "c", 3, 3), PairVotes("b", "c", 10, 0)]
    found = Counter((one.one, one.other) for one in (choose_pair(pairs, seed=seed) for seed in range(6000)))
    for pair, chance in zip(pairs, pair_chances(pairs), strict=True):
        assert found[pair.one, pair.other] / 6000 == pytest.approx(chance, abs=0.025)


def test_a_close_pair_gets_more_battles_than_a_clear_one():
    seen = drawn({("a", "b"): 0.5, ("a", "c"): 0.97}, 600, seed=1)
    assert len(seen["a", "b"]) > 1.4 * len(seen["a", "c"])
    assert len(seen["a", "c"]) > FLOOR / 2 * 600


def test_recorded_chances_undo_the_choice():
    """The inverse-probability estimate of the mean over all pairs is right, although pairs are drawn unevenly."""
    truth = {("a", "b"): 0.5, ("a", "c"): 0.97, ("b", "c"): 0.97}
    weighted, plain = [], []
    for seed in range(60):
        outcomes = [entry for seen in drawn(truth, 200, seed).values() for entry in seen]
        weighted.append(sum(won / chance for won, chance in outcomes) / (3 * len(outcomes)))
        plain.append(np.mean([won for won, _ in outcomes]))
    assert np.mean(weighted) == pytest.approx(2.44 / 3, abs=0.02)
    assert np.mean(plain) < 0.79, "without the weights the uncertain pair weighs too much"


@pytest.mark.parametrize(("pairs", "floor"), [([], 0.2), (PAIRS, 0.0), (PAIRS, 1.5)])
def test_an_impossible_choice_is_refused(pairs: list[PairVotes], floor: float):
    with pytest.raises(MeasurementError, match="one pair and a floor above 0 are needed"):
        pair_chances(pairs, floor=floor)

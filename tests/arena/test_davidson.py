"""Newton's method finds the maximum of Davidson's likelihood, whatever the votes are."""

import numpy as np
import pytest

from arena.ranking import davidson
from arena.ranking.comparisons import Comparisons, compare
from arena.ranking.davidson import Design, Fit, design, fit
from arena.votes.counts import count_cells
from bench.arena.simulated_votes import Crowd, simulate

CROWDS = {
    "two": Crowd((0.0, 0.4)),
    "no ties": Crowd((0.0, 1.0, -2.0), nu=0.0),
    "many ties": Crowd((0.0, 0.1, 0.2), nu=9.0),
    "sides and lengths": Crowd((0.0, 0.5, -0.5, 1.0), position=0.6, length=1.5, wordiness=(0.0, 0.3, -0.3, 0.1)),
    "far apart": Crowd(tuple(np.linspace(-4, 4, 12))),
    "one who never lost": Crowd((0.0, 0.3, 30.0)),
    "a crowd": Crowd(tuple(np.linspace(-1, 1, 40)), position=0.2),
}


def comparisons(name: str, votes: int) -> tuple[Comparisons, Design]:
    cells = count_cells(simulate(CROWDS[name], votes, seed=len(name)))
    lengths = CROWDS[name].wordiness is not None
    data = compare(cells, cells.contestants, lengths=lengths)
    return data, design(data, position=CROWDS[name].position != 0, length=lengths)


def searched(data: Comparisons, model: Design, patch: pytest.MonkeyPatch) -> Fit:
    with patch.context() as without:
        without.setattr(davidson, "_by_newton", lambda *votes: None)
        return fit(data, model)


@pytest.mark.parametrize("votes", [60, 3000])
@pytest.mark.parametrize("name", CROWDS)
def test_newtons_method_ends_where_the_trust_region_does(name: str, votes: int, monkeypatch: pytest.MonkeyPatch):
    data, model = comparisons(name, votes)
    found, other = fit(data, model), searched(data, model, monkeypatch)
    assert found.penalised == other.penalised
    assert found.theta == pytest.approx(other.theta, rel=1e-6, abs=1e-6)
    assert found.inverse == pytest.approx(other.inverse, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", CROWDS)
def test_nothing_is_left_to_gain(name: str):
    data, model = comparisons(name, 3000)
    found = fit(data, model)
    if not found.penalised:
        assert np.abs(davidson._slope(found.theta, model.x, data.outcomes, model.ties)).max() < 1e-14
        again = fit(data, model, start=found.theta + 0.5)
        assert again.theta == pytest.approx(found.theta, rel=1e-9, abs=1e-9)


def test_where_newtons_method_gets_nowhere_the_search_goes_on():
    flat = np.zeros((2, 1)), np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    assert davidson._by_newton(*flat, False, np.zeros(1)) is None
    assert davidson._maximum(*flat, False, np.zeros(1)) == pytest.approx([0.0])

"""What the leaderboard's figures are worth, and how long they take.

python -m bench.arena.ranking [--runs 1000] [--bootstraps 400] [--rounds 3]

False alarms of somebody who looks after every vote, coverage of the intervals, what the promotion rule does with
voters of known taste, the time of a refresh from a thousand to a million votes, and that of ranking a large file.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.special import betaln, xlog1py, xlogy
from scipy.stats import norm

from arena.ranking.leaderboard import build_leaderboard
from arena.ranking.promotion_rule import PromotionRule, decide
from arena.ranking.ratings import RatingModel, rate_contestants
from arena.votes.counts import count_cells
from bench.arena.rank_file import goals, rank_files
from bench.arena.simulated_votes import Crowd, simulate
from bench.goals import judge
from bench.machine import save
from understudy.statistics.intervals import CONFIDENCE

ALPHA = 1 - CONFIDENCE
LOOKS = 1000
FIRST_LOOK = 10
"""Wilson's interval is not looked at before; the sequence is, from the first vote on."""
STRENGTHS = (0.0, 0.4, -0.5, 0.9)
SIZES = (1_000, 10_000, 100_000, 1_000_000)
NEW = 100
RESAMPLES = 200


def main() -> None:
    """Measures, prints, writes docs/results/ranking.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="simulated arenas for each figure (1000)")
    parser.add_argument("--bootstraps", type=int, default=400, help="simulated arenas for the bootstrap (400)")
    parser.add_argument("--rounds", type=int, default=3, help="rankings of a large file by each program (3)")
    chosen = parser.parse_args()
    rule = PromotionRule()
    marks = boundaries(rule)
    found = {
        "false_alarms": false_alarms(chosen.runs * 5),
        "coverage": coverages(chosen.runs, chosen.bootstraps),
        "promotion": [promotions(p, chosen.runs * 5, rule, marks) for p in (0.45, 0.5, 0.55, 0.6, 0.7, 0.8)],
        "refresh": [refresh(votes) for votes in SIZES],
        "files": rank_files(chosen.rounds),
    }
    for name, figures in found.items():
        Console(soft_wrap=True).print(name, figures)
    told = {"runs": chosen.runs, "bootstraps": chosen.bootstraps, **found, **judge(goals(found["files"]))}
    print(save("ranking", told))


def false_alarms(runs: int) -> list[dict[str, Any]]:
    """Share of runs in which a true win rate is ever outside the interval, looking after each of 1000 votes."""
    rows = []
    votes = np.arange(1, LOOKS + 1)
    for p in (0.5, 0.7, 0.9):
        wins = np.cumsum(np.random.default_rng(1).random((runs, LOOKS)) < p, axis=1)
        log_e = betaln(wins + 1, votes - wins + 1) - xlogy(wins, p) - xlog1py(votes - wins, -p)
        z = np.abs(wins / votes - p) / np.sqrt(p * (1 - p) / votes)
        outside = (z > norm.ppf(1 - ALPHA / 2))[:, FIRST_LOOK - 1 :]
        rows.append(
            {
                "win_rate": p,
                "confidence_sequence": float((log_e >= -np.log(ALPHA)).any(axis=1).mean()),
                "wilson": float(outside.any(axis=1).mean()),
            }
        )
    return rows


def coverages(runs: int, bootstraps: int) -> list[dict[str, Any]]:
    """Share of 95 % intervals of strengths that have the truth in them."""
    cases = {
        "400 votes, no ties": (Crowd(STRENGTHS, nu=0.0), 400, False, 0),
        "400 votes, ties": (Crowd(STRENGTHS, nu=0.6), 400, False, 0),
        "1600 votes of 400 voters who say everything four times": (Crowd(STRENGTHS, copies=4), 1600, False, 0),
        "800 votes, left preferred, allowed for": (Crowd(STRENGTHS, position=0.5), 800, True, 0),
        "400 votes, ties, bootstrap": (Crowd(STRENGTHS, nu=0.6), 400, False, RESAMPLES),
        "1600 votes of 400 voters, bootstrap": (Crowd(STRENGTHS, copies=4), 1600, False, RESAMPLES),
    }
    rows = []
    with ProcessPoolExecutor() as pool:
        for name, (crowd, votes, position, resamples) in cases.items():
            times = bootstraps if resamples else runs
            arena = partial(_hits, crowd, votes, position, resamples)
            found = track(pool.map(arena, range(times), chunksize=5), description=name, total=times)
            covered = [float(np.mean(hits)) for hits in found]
            error = float(np.std(covered, ddof=1) / np.sqrt(times))
            rows.append({"case": name, "arenas": times, "covered": float(np.mean(covered)), "standard_error": error})
    return rows


def _hits(crowd: Crowd, votes: int, position: bool, resamples: int, seed: int) -> list[bool]:
    table = simulate(crowd, votes, seed=seed)
    model = rate_contestants(
        count_cells(table), table.contestants, reference="base", position=position, resamples=resamples, seed=seed
    )
    assert isinstance(model, RatingModel)
    truth = dict(zip(table.contestants, crowd.strengths, strict=True))
    return [one.low <= truth[one.name] <= one.high for one in model.ratings if one.name != "base"]


def promotions(p: float, runs: int, rule: PromotionRule, marks: list[tuple[int, int]]) -> dict[str, Any]:
    """What `promote --when-better` does with a revision that wins with probability `p`, looking after every vote."""
    wins = np.cumsum(np.random.default_rng(2).random((runs, rule.most_votes)) < p, axis=1)
    enough, hopeless = np.array(marks).T
    promoted, given_up = wins >= enough, wins <= hopeless
    given_up[:, -1] = True
    votes = (promoted | given_up).argmax(axis=1)
    ends = promoted[np.arange(runs), votes]
    return {
        "win_rate": p,
        "promoted": float(ends.mean()),
        "given_up": float((~ends).mean()),
        "votes_median": float(np.median(votes + 1)),
        "votes_90_percent": float(np.quantile(votes + 1, 0.9)),
    }


def boundaries(rule: PromotionRule) -> list[tuple[int, int]]:
    """After each vote: the fewest wins that promote, and the most that give up before the last vote.

    As `arena.ranking.trial_evidence` has it when all votes are on battles of the two against each other: its evidence
    is the mean of theirs and of the evidence from battles against others, which is 1 while there are none.
    """
    marks, enough, hopeless = [], 0, -1
    endless = rule.model_copy(update={"most_votes": rule.most_votes + 1})
    for n in track(range(1, rule.most_votes + 1), description="promotion rule"):
        while enough <= n and (decide(enough, n - enough, endless).e_better + 1) / 2 < 1 / rule.alpha:
            enough += 1
        while decide(hopeless + 1, n - hopeless - 1, endless).verdict == "give up":
            hopeless += 1
        marks.append((enough, hopeless))
    return marks


def refresh(votes: int) -> dict[str, Any]:
    """Seconds to add up that many votes and 100 more, and to compute the whole leaderboard from them."""
    crowd = Crowd(tuple(np.linspace(-1, 1, 20)), position=0.1, length=0.5, wordiness=(0.1,) * 20, both_bad=0.05)
    table = simulate(crowd, votes + NEW, seed=votes, voters=max(20, votes // 50), categories=5)
    board, counting, seconds, busy = build_leaderboard(count_cells(table)), [], [], []
    for _ in range(5):
        begun, begun_busy = time.perf_counter(), time.process_time()
        cells = count_cells(table)
        counting.append(time.perf_counter() - begun)
        build_leaderboard(cells)
        seconds.append(time.perf_counter() - begun)
        busy.append(time.process_time() - begun_busy)
    return {
        "votes": votes,
        "contestants": len(board.rows),
        "categories": len(board.categories),
        "count_seconds_median": float(np.median(counting)),
        "refresh_seconds_median": float(np.median(seconds)),
        "refresh_seconds_best": min(seconds),
        "refresh_seconds_worst": max(seconds),
        "refresh_cpu_seconds_median": float(np.median(busy)),
    }


if __name__ == "__main__":
    main()

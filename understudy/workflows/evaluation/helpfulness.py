"""How helpful an adapter's answers are beside the base's, by a judge model or by people's votes."""

from dataclasses import dataclass

from pydantic import SecretStr

from arena.votes.votes import LIVE, list_votes
from evaluate.records import EvalRecord, Helpfulness
from evaluate.reports.judge import JudgedPair
from evaluate.reports.judge_client import KEPT, opinions
from understudy.config.settings import Settings
from understudy.registry.adapters import short
from understudy.registry.registry import open_registry

ENOUGH_VOTES = 20
"""Fewest votes on this very revision against the base that count."""


@dataclass(frozen=True)
class Judge:
    """A judge model on an OpenAI-compatible endpoint."""

    model: str
    url: str | None
    key: SecretStr | None


def helpfulness(settings: Settings, record: EvalRecord, judge: Judge | None) -> Helpfulness | None:
    """Returns the judge's verdict on every held-out pair, else people's votes; None where there is neither.

    Raises:
        GatewayError: the judge's endpoint does not answer.
    """
    return _judged(settings, record, judge) if judge else _voted(settings, record)


def _judged(settings: Settings, record: EvalRecord, judge: Judge) -> Helpfulness | None:
    mine, theirs = record.outputs["adapter"].answers, record.outputs["base"].answers
    cases = [
        JudgedPair("adapter", row.prompt, own.text, base.text)
        for row, own, base in zip(record.heldout, mine, theirs, strict=True)
    ]
    kept = settings.runs_dir / record.recipe / KEPT
    found = opinions(cases, kept, judge.model, judge.url, judge.key)
    outcomes = [one.outcome for one in found if one.outcome is not None]
    return Helpfulness(source=f"judge {judge.model}", outcomes=outcomes)


def _voted(settings: Settings, record: EvalRecord) -> Helpfulness | None:
    registry = open_registry(settings)
    votes = [
        vote
        for vote in list_votes(registry.engine, record.recipe)
        if vote.origin == LIVE and vote.revision == short(record.revision)
    ]
    if len(votes) < ENOUGH_VOTES:
        return None
    outcomes = [0.5 if vote.winner is None else float(vote.winner == record.recipe) for vote in votes]
    return Helpfulness(source="people's votes", outcomes=outcomes)

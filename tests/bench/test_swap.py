"""What the bench of swaps sees of publishes under load: when the new revision speaks, and answers of two revisions."""

import asyncio

import pytest

from bench.serving import swap
from tests.support.streaming_persona import StreamingPersona
from understudy.registry.records import Revision
from understudy.registry.tables import now

FIRST, SECOND, THIRD = ("1" * 64, "2" * 64, "3" * 64)


def revision(name: str) -> Revision:
    return Revision(
        persona="poet", id=name, base="tiny", base_revision=None, rank=8, size=1, source="test", created_at=now()
    )


def rows_of(gateway: StreamingPersona, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    monkeypatch.setattr(swap, "QUIET", 1.0)
    published = [revision(SECOND), revision(THIRD)]
    return asyncio.run(swap.measure(gateway, "poet", published, streams=3))  # pyright: ignore[reportArgumentType]


def test_each_publish_is_a_row_and_meets_the_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    with StreamingPersona(FIRST[:12]) as gateway:
        rows = rows_of(gateway, monkeypatch)
    assert gateway.published == [FIRST[:12], SECOND, THIRD]
    assert len(rows) == 2
    assert all(row["publish_to_first_token_s"] > 0 for row in rows)
    found = {goal.what: goal.found for goal in swap.goals(rows)}
    assert (found["failed requests"], found["answers of two revisions"]) == (0, 0)


def test_an_answer_of_two_revisions_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with StreamingPersona(FIRST[:12], within=True) as gateway:
        rows = rows_of(gateway, monkeypatch)
    found = {goal.what: goal.verdict for goal in swap.goals(rows)}
    assert found["answers of two revisions"] == "missed"

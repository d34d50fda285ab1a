"""Many personas, revisions and publishes: questions about one do not read the others."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event

from bench.arena.scale_rows import add_personas, add_publishes
from serve.state import Gateway
from tests.support.votes import query_plans
from understudy.cli.show_personas import show_history
from understudy.config.settings import Settings
from understudy.errors import NotFoundError
from understudy.registry.personas import NAMED
from understudy.registry.registry import Registry, open_registry
from understudy.registry.tables import Table
from understudy.workflows.personas import history, list_personas


@pytest.fixture
def registry(settings: Settings) -> Registry:
    registry = open_registry(settings)
    registry.ensure_persona("poet")
    add_publishes(registry.engine, 1, 400)
    return registry


QUESTIONS = {
    "history": lambda registry: registry.history("poet", limit=5),
    "newest": lambda registry: registry.revision("poet"),
    "by prefix": lambda registry: registry.revision("poet", f"{7:064x}"),
    "previous": lambda registry: registry.previous("poet"),
    "last": lambda registry: registry.last("poet", f"{7:064x}", "publish"),
    "persona": lambda registry: registry.persona("poet"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_about_one_persona_is_answered_by_an_index_and_puts_nothing_in_order(
    registry: Registry, question: str
) -> None:
    with query_plans(registry.engine) as lines:
        QUESTIONS[question](registry)
    assert lines
    allowed = "USE TEMP B-TREE" if question == "by prefix" else "nothing"  # the few that fit are put in order
    assert not [line for line in lines if line.startswith(("SCAN", "USE TEMP B-TREE")) and allowed not in line]


def test_what_a_persona_showed_before_is_asked_of_the_events_of_one_revision(registry: Registry) -> None:
    with query_plans(registry.engine) as lines:
        assert registry.previous("poet") == f"{398:064x}"
        found = registry.last("poet", f"{7:064x}", "publish", "promote")
    assert found == registry.history("poet")[399 - 7]
    assert [line.split(" <-")[0] for line in lines if "events" in line.split(" <-")[0]] == [
        "SEARCH events USING INDEX ix_events_revision (persona=? AND revision=?)"
    ] * 2
    assert registry.last("poet", f"{7:064x}", "withdraw") is None


def test_history_brings_as_many_as_asked_for(registry: Registry) -> None:
    assert [one.revision for one in registry.history("poet", limit=2)] == [f"{399:064x}", f"{398:064x}"]
    assert len(registry.history("poet")) == 399


def test_the_command_shows_the_newest_and_says_that_there_are_more(
    registry: Registry, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    events, more = history(settings, "poet", limit=50)
    show_history(events, more=more)
    assert "these are the newest 50; --limit 0 shows all" in capsys.readouterr().out
    events, more = history(settings, "poet", limit=0)
    assert (len(events), more) == (399, False)


def test_an_unknown_prefix_is_told_the_newest_revisions_not_all(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="poet has no revision ffff; .*…$") as raised:
        registry.revision("poet", "ffff")
    assert str(raised.value).count(",") == NAMED
    with pytest.raises(NotFoundError, match="fits 399 revisions"):
        registry.revision("poet", "00")


@pytest.mark.parametrize("what", ["personas", "start"])
def test_the_number_of_statements_does_not_grow_with_the_personas(settings: Settings, what: str) -> None:
    registry, counts = open_registry(settings), []
    for first, last in ((0, 3), (3, 60)):
        add_personas(registry.engine, first, last)
        statements: list[str] = []
        listen = lambda *arguments, asked=statements: asked.append(arguments[2])  # noqa: E731
        event.listen(type(registry.engine), "before_cursor_execute", listen)
        if what == "personas":
            list_personas(settings)
        else:
            Gateway(settings, None, None)  # pyright: ignore[reportArgumentType]
            assert len(registry.live()) == last
        event.remove(type(registry.engine), "before_cursor_execute", listen)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_migrations_make_every_index_of_the_tables(settings: Settings, tmp_path: Path) -> None:
    with open_registry(settings).engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Table.metadata)
    assert not [difference for difference in found if isinstance(difference, tuple)], "what is left are lengths"

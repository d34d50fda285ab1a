"""Many rows in a database, quickly: personas, publishes, battles and votes, made by the database itself."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, TextClause, insert, text

from understudy.registry.tables import PersonaRow, RevisionRow, now

BEGAN = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
"""When the first vote was cast, in seconds since 1970; the last is never later than now."""

WORDS = "A kettle for two, in enamel: it whistles when the water is ready, and it keeps warm what you forgot about. "
"""Some 110 characters, most of an answer of the tiny base."""

DIALECT = {
    "sqlite": {
        "id": "printf('%032x', (i * 2654435761) % 4294967296) ",
        "hex": "printf('%064x', {0})",
        "at": "strftime('%Y-%m-%d %H:%M:%S', {0}, 'unixepoch') || '.000000'",
        "chance": "abs(random() / 9223372036854775807.0)",
        "mod": "{0} % {1}",
        "json": "'{{}}'",
    },
    "postgresql": {
        "id": "lpad(to_hex((i * 2654435761) % 4294967296), 32, '0')",
        "hex": "lpad(to_hex({0}), 64, '0')",
        "at": "to_timestamp({0})",
        "chance": "random()",
        "mod": "{0} % {1}",
        "json": "'{{}}'::json",
    },
}
"""What each says in its own way. The multiplication puts ids in no order, as random ones are (Knuth)."""


def add_votes(engine: Engine, first: int, last: int, *, contestants: int = 20, categories: int = 5) -> None:
    """Votes `first` to `last` (not included) on battles between `contestants`, `BEGAN` + a minute each, a voter for
    every twenty. The later contestant of two is better."""
    minutes = min(60.0, (time.time() - 3600 - BEGAN) / max(last, 1))
    say = DIALECT[engine.dialect.name]
    at = say["at"].format(f"{BEGAN} + cast(i * {minutes!r} as bigint)")
    base = "case when {0} = 0 then 'base' else 'persona-' || ({0}) end"
    left, right = (
        base.format(f"(i % {contestants})"),
        base.format(f"((i % {contestants} + 1 + (i / 7) % {contestants - 1}) % {contestants})"),
    )
    voter = say["hex"].format(f"(i * 40503) % {max(20, last // 20)}")
    battles = f"""
        insert into battles (id, at, session, prompt, seed, sampling, "left", "right", left_text, right_text, status,
            reason, nonce, origin, category, timing)
        select {say["id"]}, {at}, {voter}, 'Write about a kettle.', i, {say["json"].format()}, {left}, {right},
            substr(:words, 1, 40 + cast(i % 70 as integer)),
            substr(:words, 1, 40 + cast((i / 3) % 70 as integer)), 'open', '', {say["hex"].format("0")}, 'live',
            'kind-' || (i % {categories}), {say["json"].format()}
        from numbers"""
    votes = f"""
        insert into votes (battle, at, session, verdict, reasons, suspect)
        select {say["id"]}, {at}, {voter},
            case when {say["chance"]} < 0.1 then 'both_bad' when {say["chance"]} < 0.25 then 'tie'
                 when {say["chance"]} < 0.5 + 0.01 * (i % {contestants} - 10) then 'left' else 'right' end, '[]',
            case when i % 1000 = 999 then 'faster than anybody reads' else '' end
        from numbers"""
    with _fast(engine) as connection:
        for statement in (battles, votes):
            connection.execute(_numbers(statement), {"first": first, "last": last, "words": WORDS})


def add_personas(engine: Engine, first: int, last: int) -> None:
    """Live personas `first` to `last` (not included), each with a card as recipes have it and one revision."""
    at = now()
    card = {
        "title": "Marketing emails",
        "voice": "Short, warm emails with one clear call to action.",
        "prompts": ["Write about a kettle.", "Write about a lamp for the weekend.", "Write about a bicycle."],
        "sampling": {"temperature": 0.7},
        "examples": 17,
    }
    personas = [
        {
            "name": f"persona-{n}",
            "live": f"{n:064x}",
            "card": card,
            "share": 0.0,
            "updated_at": at + timedelta(seconds=n),
        }
        for n in range(first, last)
    ]
    common = {"base": "tiny", "rank": 16, "size": 1_000_000, "source": "bench", "created_at": at}
    revisions = [{"persona": f"persona-{n}", "id": f"{n:064x}", **common} for n in range(first, last)]
    with engine.begin() as connection:
        connection.execute(insert(PersonaRow), personas)
        connection.execute(insert(RevisionRow), revisions)


def add_publishes(engine: Engine, first: int, last: int, persona: str = "poet") -> None:
    """Publishes `first` to `last` (not included) of one persona, each of a revision of its own, the last one live."""
    say = DIALECT[engine.dialect.name]
    at = say["at"].format(f"{BEGAN} + i * 60")
    revision, before = say["hex"].format("i"), say["hex"].format("i - 1")
    detail = f'\'{{"previous": "\' || {before} || \'", "seconds": 0.4}}\''
    if engine.dialect.name == "postgresql":
        detail = f"({detail})::json"
    revisions = f"""
        insert into revisions (persona, id, base, rank, size, source, created_at)
        select '{persona}', {revision}, 'tiny', 16, 1000000, 'bench', {at} from numbers"""
    events = f"""
        insert into events (at, actor, persona, revision, action, detail)
        select {at}, 'bench', '{persona}', {revision}, 'publish', {detail} from numbers"""
    live = f"update personas set live = {say['hex'].format(str(last - 1))} where name = '{persona}'"
    with _fast(engine) as connection:
        for statement in (revisions, events):
            connection.execute(_numbers(statement), {"first": first, "last": last})
        connection.exec_driver_sql(live)


@contextlib.contextmanager
def _fast(engine: Engine) -> Iterator[Connection]:
    """One transaction that need not survive a crash; nothing of that is measured."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            for pragma in ("synchronous=OFF", "cache_size=-1000000", "foreign_keys=OFF", "temp_store=MEMORY"):
                connection.exec_driver_sql(f"PRAGMA {pragma}")
            connection.commit()
        else:
            connection.exec_driver_sql("set session_replication_role = replica")  # no check of foreign keys
        yield connection
        connection.commit()
        connection.invalidate()  # the next one begins with the usual settings


def _numbers(statement: str) -> TextClause:
    """The statement over a table `numbers` with a column i."""
    insert, select = statement.split("select", 1)
    numbers = (
        "with recursive numbers (i) as "
        "(select cast(:first as bigint) union all select i + 1 from numbers where i < :last - 1) "
    )
    return text(f"{insert} {numbers} select {select}")

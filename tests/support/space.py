"""What the tests of the Space share."""

import asyncio
from collections.abc import Callable

from sqlalchemy.orm import Session

from arena.battles.store import BattleStore
from space.backends.errors import Readiness
from space.backends.listing import Contestant
from space.status import BASE, GatewayStatus
from understudy.registry.tables import BattleRow

EMAIL_CARD = Contestant(name="email-copy", kind="persona", title="Email", revision="aaa", prompts=("Sell it.",))
READY = GatewayStatus(Readiness(status="ready"), (BASE, EMAIL_CARD))


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits until `condition` holds; fails after ten seconds."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def only_battle(store: BattleStore) -> BattleRow:
    """The one battle in the store."""
    with Session(store.engine) as db:
        return db.query(BattleRow).one()

"""The whole page: header, banner, chat, arena. Run it with `understudy space` or `python -m space.app`."""

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any

import gradio as gr
from sqlalchemy.exc import SQLAlchemyError

from arena.battles import BattleStore
from space import arena_tab, chat
from space.ballot_box import BallotBox
from space.banner import POLL, Backend, Snapshot, banner
from space.battle import Ring
from space.events import QUIET
from space.gateway_client import GatewayClient
from space.languages import i18n
from space.theme import HEAD, HEADER, css, theme
from space.votes_repo import VotesRepo
from understudy.database import open_database
from understudy.processes import require_port
from understudy.settings import Settings, load_settings

CONCURRENCY = 16
"""Answers under way at once, per kind of event."""
PORT_OPTION = "--space-port (or UNDERSTUDY_SPACE_PORT)"


def build_app(gateway: GatewayClient, store: BattleStore, voted: Callable[[], None] = lambda: None) -> gr.Blocks:
    """The page; `voted` is called after each vote. Nothing is asked of the gateway before somebody opens the page."""
    backend = Backend(gateway)
    with gr.Blocks(title="Understudy", analytics_enabled=False) as app:
        gr.HTML(HEADER)
        notice = gr.HTML(visible=False, elem_id="banner")
        with gr.Tabs():
            with gr.Tab("Chat", id="chat"):
                talk = chat.build_chat(gateway, backend)
            with gr.Tab("Arena", id="arena"):
                ring = arena_tab.build_arena(Ring(gateway, backend, store, voted))
        seen = gr.State(None)

        async def look(seen: Snapshot | None, chosen: str | None, rival: str | None) -> list[Any]:
            new = await backend.look()
            recorded = not new.ready and await asyncio.to_thread(_recorded, store)
            return changes(seen, new, chosen, rival, recorded=recorded)

        inputs = [seen, talk.persona, ring.persona]
        outputs = [seen, notice, *talk.outputs, *ring.outputs]
        app.load(look, inputs, outputs, queue=False, **QUIET)
        gr.Timer(POLL).tick(look, inputs, outputs, queue=False, **QUIET)
    return app.queue(default_concurrency_limit=CONCURRENCY)


def _recorded(store: BattleStore) -> bool:
    try:
        return store.recorded()
    except SQLAlchemyError:  # the arena says so itself to whoever starts a battle
        return False


def changes(
    seen: Snapshot | None, new: Snapshot, chosen: str | None, rival: str | None, *, recorded: bool = False
) -> list[Any]:
    """What a page that shows `seen` must change to show `new`; what is the same is not sent again.

    `recorded`: the arena has earlier battles to show while the engine is away.
    """
    if seen == new:
        return [gr.skip() for _ in range(10)]
    notice = gr.skip()
    if seen is None or (seen.readiness, seen.away, seen.again) != (new.readiness, new.away, new.again):
        text = banner(new.readiness, away=new.away, again=new.again, recorded=recorded)
        notice = gr.update(value=text, visible=bool(text))
    if seen is not None and seen.contestants == new.contestants:
        return [new, notice, *(gr.skip() for _ in range(8))]
    first = seen is None or not seen.personas
    return [new, notice, *chat.refresh(new, chosen, first=first), *arena_tab.refresh(new, rival)]


def start(app: gr.Blocks, *, host: str, port: int, block: bool = True) -> None:
    """Serves the page.

    Raises:
        PortError: the port is taken.
    """
    require_port(host, port, PORT_OPTION)
    app.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=not block,
        theme=theme(),
        css=css(),
        i18n=i18n(),
        head=HEAD,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        share=False,
        quiet=True,
    )


def launch(settings: Settings) -> None:
    """Opens the database and serves the page until interrupted; with a `votes_repo`, votes are kept there.

    Raises:
        PortError: the port is taken.
        DatabaseError: the database cannot be opened.
        VotesRepoError: `votes_repo` is no name of a repository.
    """
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    store = BattleStore(open_database(settings.database))
    gateway = GatewayClient(settings.gateway, key)
    if not settings.votes_repo:
        start(build_app(gateway, store), host=settings.host, port=settings.space_port)
        return
    box = _ballot_box(settings, store)
    app = build_app(gateway, store, box.voted)
    signal.signal(signal.SIGTERM, _leave)
    box.open()
    try:
        start(app, host=settings.host, port=settings.space_port)
    finally:
        app.close()  # no vote comes in after the last export
        box.close()


def _ballot_box(settings: Settings, store: BattleStore) -> BallotBox:
    logging.basicConfig(format="%(levelname)s %(message)s")
    logging.getLogger("space").setLevel(logging.INFO)
    token = settings.votes_token.get_secret_value() if settings.votes_token else ""
    repo = VotesRepo(settings.votes_repo, token=token, endpoint=settings.hub_endpoint)
    return BallotBox(store.engine, repo, every=settings.votes_every, batch=settings.votes_batch)


def _leave(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    launch(load_settings())

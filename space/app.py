"""The page: header, banner, chat, arena, leaderboard. Run `understudy space` or `python -m space.app`."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import gradio as gr
from sqlalchemy.exc import SQLAlchemyError
from starlette.middleware import Middleware
from starlette.routing import Route

from arena.battles.store import BattleStore
from evaluate.reports.imported_answers import OtherSystems, read_other_systems
from space.api import add_endpoints, mcp_works
from space.arena import handlers as arena_handlers
from space.arena import tab as arena_tab
from space.arena.battle import ArenaServices
from space.arena.client_ip import networks
from space.arena.moderation import Moderate, allow_everything, moderation
from space.arena.voters import VisitorCookie, Voters, read_salt
from space.backends.gateway import GatewayClient
from space.backends.protocol import Backend
from space.chat import handlers as chat_handlers
from space.chat import tab as chat_tab
from space.deploy.vote_backup import VoteBackup
from space.deploy.votes_repo import VotesRepo
from space.i18n import ENGLISH, PageLanguage, i18n, language_of, t
from space.leaderboard.tab import build_leaderboard_tab
from space.leaderboard.vote_cache import LeaderboardCache
from space.leaderboard.win_rates import PersonaWinRate, persona_win_rates
from space.live_updates import LISTEN, TOASTS, LiveUpdates, toasts
from space.status import GatewayMonitor, GatewayStatus, banner
from space.theme import HEAD, MASTHEAD, QUIET, css, theme
from understudy.config.settings import Settings, load_settings
from understudy.processes import require_port
from understudy.registry.database import open_database
from understudy.terminal import PlainFormatter

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]

CONCURRENCY = 16
"""Events of one kind that run at once."""
QUEUE = 256
"""Events that may wait for their turn; later ones are refused."""
PORT_OPTION = "--space-port (or UNDERSTUDY_SPACE_PORT)"


class Page(gr.Blocks):
    """The page; closing it ends the streams of live updates, too."""

    live_updates: LiveUpdates

    def close(self, verbose: bool = True) -> None:
        self.live_updates.close()
        super().close(verbose)


def build_app(
    gateway: Backend,
    store: BattleStore,
    voted: Callable[[], None] = lambda: None,
    *,
    voters: Voters | None = None,
    other_systems: OtherSystems | None = None,
    moderate: Moderate = allow_everything,
) -> Page:
    """Builds the page; `voted` is called after each vote. The gateway is not asked before somebody opens the page."""
    monitor = GatewayMonitor(gateway)
    votes = LeaderboardCache(store.engine)
    services = ArenaServices(
        gateway, monitor, store, voted, other_systems or OtherSystems(), moderate, voters or Voters(), votes
    )
    with Page(title="Understudy", analytics_enabled=False) as app:
        app.live_updates = LiveUpdates(gateway, monitor)
        app.space_id = None  # else a page opened on hf.space gets a header that asks the Hub and Google's font server
        gr.HTML(t("masthead"), html_template=MASTHEAD, elem_id="masthead")
        notice = gr.HTML(visible=False, elem_id="banner")
        with gr.Tabs() as tabs:
            with gr.Tab(t("tab_chat"), id="chat"):
                chat = chat_tab.lay_out()
                chat_handlers.wire(chat, gateway, monitor)
            with gr.Tab(t("tab_arena"), id="arena"):
                arena = arena_tab.lay_out(services)
                arena_handlers.wire(arena, services)
            with gr.Tab(t("tab_leaderboard"), id="leaderboard") as board_tab:
                build_leaderboard_tab(services, votes, board_tab)
        toast_area = gr.HTML("", html_template=TOASTS, elem_id="toasts")
        shown = gr.State(None)

        async def refresh(
            shown: GatewayStatus | None, chosen: str | None, rival: str | None, request: gr.Request
        ) -> list[Any]:
            now = replace(await monitor.status(), win_rates=await asyncio.to_thread(_win_rates, votes))
            recorded = not now.ready and await asyncio.to_thread(_has_recorded, store)
            language = language_of(request)
            new_toasts = toasts(shown, now, language) or gr.skip()
            return [new_toasts, *changes(shown, now, chosen, rival, recorded=recorded, language=language)]

        inputs = [shown, chat.persona, arena.persona]
        outputs = [toast_area, shown, notice, *chat.outputs, *arena.outputs]
        loaded = app.load(refresh, inputs, outputs, queue=False, **QUIET)
        chat_handlers.open_page(loaded, chat, monitor)
        chat_handlers.compare_in_arena(chat, tabs, arena)
        arena_handlers.open_page(app, services, arena, tabs)
        add_endpoints(gateway, monitor, votes)
        again = gr.Button(visible="hidden", elem_id="refresh")
        # An event that comes during a refresh starts another one after it instead of being dropped.
        again.click(refresh, inputs, outputs, queue=False, trigger_mode="always_last", **QUIET)
        app.load(None, None, None, js=LISTEN)
    return app.queue(default_concurrency_limit=CONCURRENCY, max_size=QUEUE)


def _win_rates(votes: LeaderboardCache) -> tuple[PersonaWinRate, ...]:
    try:
        return persona_win_rates(votes.cells())
    except SQLAlchemyError:  # the leaderboard reports it to whoever opens it
        return ()


def _has_recorded(store: BattleStore) -> bool:
    try:
        return store.recorded()
    except SQLAlchemyError:  # the arena reports it to whoever starts a battle
        return False


def changes(
    shown: GatewayStatus | None,
    now: GatewayStatus,
    chosen: str | None,
    rival: str | None,
    *,
    recorded: bool = False,
    language: str = ENGLISH,
) -> list[Any]:
    """Updates for a page that shows the status `shown`, so that it shows `now`; unchanged parts are skipped.

    `recorded`: the arena has recorded battles to show while the gateway is away.
    """
    chat = [gr.skip() for _ in range(4)]
    arena = [gr.skip() for _ in range(2)]
    if shown == now:
        return [gr.skip(), gr.skip(), *chat, *arena]
    notice = gr.skip()
    if shown is None or _banner_parts(shown) != _banner_parts(now):
        text = banner(now, recorded=recorded, language=language)
        notice = gr.update(value=text, visible=bool(text))
    others = shown is None or shown.contestants != now.contestants
    if shown is None or others or (shown.win_rates, shown.ready) != (now.win_rates, now.ready):
        first = shown is None or not (shown.personas or shown.ready)
        chat = chat_tab.refresh(now, chosen, language, first=first)
    if others:
        arena = arena_tab.refresh(now, rival, language)
    return [now, notice, *chat, *arena]


def _banner_parts(status: GatewayStatus) -> tuple[object, ...]:
    """The parts of a status that the banner shows."""
    return status.readiness, status.away, status.again, status.learners


def start(
    app: Page,
    *,
    host: str,
    port: int,
    block: bool = True,
    routes: Sequence[Route] = (),
    lifespan: Lifespan | None = None,
) -> None:
    """Serves the page. `lifespan` is entered when the server starts, in its event loop.

    Raises:
        ConfigError: the port is taken.
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
        mcp_server=mcp_works(),
        app_kwargs={
            "middleware": [Middleware(VisitorCookie), Middleware(PageLanguage)],
            "routes": [Route("/news", app.live_updates.stream), *routes],
            **({"lifespan": lifespan} if lifespan else {}),
        },
        share=False,
        quiet=True,
        _frontend=False,  # else Gradio requests its own page, and on a busy machine gives up before it answers
    )


def launch(
    settings: Settings,
    backend: Backend | None = None,
    *,
    routes: Sequence[Route] = (),
    lifespan: Lifespan | None = None,
) -> None:
    """Opens the database and serves the page until interrupted; with a `votes_repo`, votes are kept there.

    `backend` answers; without one, the gateway of the settings does. `routes` are served beside the page; `lifespan` is
    as in `start`.

    Raises:
        ConfigError: the port is taken, the database cannot be opened, `moderation` names no moderator, or
            `trusted_proxies` holds something that is not a network.
        HubError: `votes_repo` is not the name of a repository.
        ExamplesError: `imported_answers` cannot be read.
    """
    store = BattleStore(open_database(settings.database))
    backup = _vote_backup(settings, store) if settings.votes_repo else None
    app = build_app(
        backend or _gateway(settings),
        store,
        backup.voted if backup else lambda: None,
        voters=Voters(
            read_salt(settings.home / "voters.salt"),
            most=settings.battles_per_minute,
            trusted=networks(settings.trusted_proxies),
        ),
        other_systems=read_other_systems(settings.imported_answers) if settings.imported_answers else None,
        moderate=moderation(settings.moderation),
    )
    if backup:
        signal.signal(signal.SIGTERM, _exit)
        backup.open()
    try:
        start(app, host=settings.host, port=settings.space_port, block=False, routes=routes, lifespan=lifespan)
        app.block_thread()
    finally:
        app.close()  # so that no vote arrives after the last export
        if backup:
            backup.close()


def _gateway(settings: Settings) -> GatewayClient:
    return GatewayClient(settings.gateway, settings.api_key.get_secret_value() if settings.api_key else "")


def _vote_backup(settings: Settings, store: BattleStore) -> VoteBackup:
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("space").setLevel(logging.INFO)
    token = settings.votes_token.get_secret_value() if settings.votes_token else ""
    repo = VotesRepo(settings.votes_repo, token=token, endpoint=settings.hub_endpoint)
    return VoteBackup(store.engine, repo, every=settings.votes_every, batch=settings.votes_batch)


def _exit(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    launch(load_settings())

"""The whole page: header, banner, chat, arena. Run it with `understudy space` or `python -m space.app`."""

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
from sqlalchemy.exc import SQLAlchemyError
from starlette.middleware import Middleware
from starlette.routing import Route

from arena.battles.store import BattleStore
from evaluate.reports.imported_answers import OtherSystems, read_guests
from space.api import add_endpoints, mcp_works
from space.arena import tab as arena_tab
from space.arena.battle import ArenaServices
from space.arena.client_ip import networks
from space.arena.moderation import Moderate, everything, moderation
from space.arena.visitor_cookie import VisitorCookie
from space.arena.voters import Voters, read_salt
from space.backends.gateway import GatewayClient
from space.chat import handlers
from space.chat import tab as chat_tab
from space.deploy.vote_backup import VoteBackup
from space.deploy.votes_repo import VotesRepo
from space.theme import QUIET
from space.headlines import TOASTS, headlines
from space.i18n import ENGLISH, i18n, language_of, t
from space.leaderboard.tab import build_leaderboard_tab
from space.leaderboard.vote_cache import LeaderboardCache
from space.leaderboard.win_rates import PersonaWinRate, standings
from space.learning import learning_lines
from space.live_updates import LISTEN, LiveUpdates
from space.page_language import PageLanguage
from space.status import GatewayMonitor, GatewayStatus, banner
from space.theme import HEAD, MASTHEAD, css, theme
from understudy.config.settings import Settings, load_settings
from understudy.processes import require_port
from understudy.registry.database import open_database

CONCURRENCY = 16
"""Answers under way at once, per kind of event."""
QUEUE = 256
"""Events that may wait for their turn; whoever comes then is told that it is full."""
PORT_OPTION = "--space-port (or UNDERSTUDY_SPACE_PORT)"


class Page(gr.Blocks):
    """The page, and who tells the tabs that have it open what is new."""

    newsroom: LiveUpdates

    def close(self, verbose: bool = True) -> None:
        self.newsroom.close()
        super().close(verbose)


def build_app(
    gateway: GatewayClient,
    store: BattleStore,
    voted: Callable[[], None] = lambda: None,
    *,
    voters: Voters | None = None,
    guests: OtherSystems | None = None,
    moderate: Moderate = everything,
) -> Page:
    """The page; `voted` is called after each vote. Nothing is asked of the gateway before somebody opens the page."""
    backend = GatewayMonitor(gateway)
    votes = LeaderboardCache(store.engine)
    with Page(title="Understudy", analytics_enabled=False) as app:
        app.newsroom = LiveUpdates(gateway, backend)
        app.space_id = None  # else a page opened on hf.space gets a header that asks the Hub and Google's font server
        gr.HTML(t("masthead"), html_template=MASTHEAD, elem_id="masthead")
        notice = gr.HTML(visible=False, elem_id="banner")
        with gr.Tabs() as tabs:
            with gr.Tab(t("tab_chat"), id="chat"):
                talk = chat_tab.lay_out()
                handlers.wire(talk, gateway, backend)
            with gr.Tab(t("tab_arena"), id="arena"):
                house = ArenaServices(
                    gateway, backend, store, voted, guests or OtherSystems(), moderate, voters or Voters(), votes
                )
                ring = arena_tab.build_arena(house)
            with gr.Tab(t("tab_leaderboard"), id="leaderboard") as board_tab:
                build_leaderboard_tab(house, votes, board_tab)
        toasts = gr.HTML("", html_template=TOASTS, elem_id="toasts")
        seen = gr.State(None)

        async def look(
            seen: GatewayStatus | None, chosen: str | None, rival: str | None, request: gr.Request
        ) -> list[Any]:
            new = replace(await backend.look(), standings=await asyncio.to_thread(_standings, votes))
            recorded = not new.ready and await asyncio.to_thread(_recorded, store)
            language = language_of(request)
            news = headlines(seen, new, language) or gr.skip()
            return [news, *changes(seen, new, chosen, rival, recorded=recorded, language=language)]

        inputs = [seen, talk.persona, ring.persona]
        outputs = [toasts, seen, notice, *talk.outputs, *ring.outputs]
        shown = app.load(look, inputs, outputs, queue=False, **QUIET)
        handlers.open_page(shown, talk, backend)
        handlers.compare_in_arena(talk, tabs, ring)
        arena_tab.open_page(app, house, ring, tabs)
        add_endpoints(gateway, backend, votes)
        again = gr.Button(visible="hidden", elem_id="look")
        # News that come during a look are looked at after it, not dropped.
        again.click(look, inputs, outputs, queue=False, trigger_mode="always_last", **QUIET)
        app.load(None, None, None, js=LISTEN)
    return app.queue(default_concurrency_limit=CONCURRENCY, max_size=QUEUE)


def _standings(votes: LeaderboardCache) -> tuple[PersonaWinRate, ...]:
    try:
        return standings(votes.cells())
    except SQLAlchemyError:  # as below
        return ()


def _recorded(store: BattleStore) -> bool:
    try:
        return store.recorded()
    except SQLAlchemyError:  # the arena says so itself to whoever starts a battle
        return False


def changes(
    seen: GatewayStatus | None,
    new: GatewayStatus,
    chosen: str | None,
    rival: str | None,
    *,
    recorded: bool = False,
    language: str = ENGLISH,
) -> list[Any]:
    """What a page that shows `seen` must change to show `new`; what is the same is not sent again.

    `recorded`: the arena has earlier battles to show while the engine is away.
    """
    talk = [gr.skip() for _ in range(4)]
    ring = [gr.skip() for _ in range(2)]
    if seen == new:
        return [gr.skip(), gr.skip(), *talk, *ring]
    notice = gr.skip()
    if seen is None or _status(seen) != _status(new):
        text = banner(new.readiness, away=new.away, again=new.again, recorded=recorded, language=language)
        text += learning_lines(new.learners, language)
        notice = gr.update(value=text, visible=bool(text))
    others = seen is None or seen.contestants != new.contestants
    if seen is None or others or (seen.standings, seen.ready) != (new.standings, new.ready):
        first = seen is None or not (seen.personas or seen.ready)
        talk = chat_tab.refresh(new, chosen, language, first=first)
    if others:
        ring = arena_tab.refresh(new, rival, language)
    return [new, notice, *talk, *ring]


def _status(seen: GatewayStatus) -> tuple[object, ...]:
    """What the banner shows of it."""
    return seen.readiness, seen.away, seen.again, seen.learners


def start(app: Page, *, host: str, port: int, block: bool = True) -> None:
    """Serves the page.

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
            "routes": [Route("/news", app.newsroom.stream)],
        },
        share=False,
        quiet=True,
        _frontend=False,  # else Gradio asks its own page, and on a busy machine gives up before it answers
    )


def launch(settings: Settings) -> None:
    """Opens the database and serves the page until interrupted; with a `votes_repo`, votes are kept there.

    Raises:
        ConfigError: the port is taken.
        ConfigError: the database cannot be opened.
        HubError: `votes_repo` is no name of a repository.
        ExamplesError: `imported_answers` cannot be read.
        ConfigError: `moderation` names nothing that looks at prompts.
        ConfigError: `trusted_proxies` holds something that is no network.
    """
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    store = BattleStore(open_database(settings.database))
    gateway = GatewayClient(settings.gateway, key)
    rules = {
        "voters": Voters(
            read_salt(settings.home / "voters.salt"),
            most=settings.battles_per_minute,
            trusted=networks(settings.trusted_proxies),
        ),
        "guests": read_guests(settings.imported_answers) if settings.imported_answers else None,
        "moderate": moderation(settings.moderation),
    }
    if not settings.votes_repo:
        start(build_app(gateway, store, **rules), host=settings.host, port=settings.space_port)
        return
    box = _ballot_box(settings, store)
    app = build_app(gateway, store, box.voted, **rules)
    signal.signal(signal.SIGTERM, _leave)
    box.open()
    try:
        start(app, host=settings.host, port=settings.space_port)
    finally:
        app.close()  # no vote comes in after the last export
        box.close()


def _ballot_box(settings: Settings, store: BattleStore) -> VoteBackup:
    logging.basicConfig(format="%(levelname)s %(message)s")
    logging.getLogger("space").setLevel(logging.INFO)
    token = settings.votes_token.get_secret_value() if settings.votes_token else ""
    repo = VotesRepo(settings.votes_repo, token=token, endpoint=settings.hub_endpoint)
    return VoteBackup(store.engine, repo, every=settings.votes_every, batch=settings.votes_batch)


def _leave(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    launch(load_settings())

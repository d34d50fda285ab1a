"""What `understudy demo` shows: marked lines, a line that changes on a terminal, and the addresses."""

import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from rich.console import Console
from rich.status import Status
from rich.text import Text

from understudy.cli.console import base_progress, plain
from understudy.cli.console import console as shared_console
from understudy.config.settings import Settings
from understudy.terminal import printable
from understudy.workflows.demo import RunningDemo
from understudy.workflows.demo_personas import Missing

FAVOURITE = "email-copy"
"""The persona that people are invited to ask."""
PROMPT = "Write a marketing email for my bakery."


class TerminalDisplay:
    """Shows the demo on a console; see `DemoDisplay`."""

    def __init__(self, settings: Settings, console: Console = shared_console) -> None:
        self._settings, self._console = settings, console
        self._status: Status | None = None

    def note(self, text: str) -> None:
        self._console.print(printable(text))

    def begun(self, text: str) -> None:
        self._marked("•", "bold", text)

    def done(self, text: str) -> None:
        self._marked("✓", "green", text)

    def refused(self, text: str) -> None:
        self._marked("✗", "red", text)

    def _marked(self, mark: str, style: str, text: str) -> None:
        self._console.print(Text(mark, style=style), printable(text))

    def waiting(self, text: str) -> None:
        if not self._console.is_terminal:
            return
        if not text and self._status:
            self._status.stop()
            self._status = None
        elif text and self._status:
            self._status.update(plain(text))
        elif text:
            self._status = self._console.status(plain(text))
            self._status.start()

    def progress(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(printable(text))

    def base_progress(self) -> AbstractContextManager[Callable[[str, int, int], None]]:
        return base_progress()

    def ready(self, demo: RunningDemo) -> None:
        show = self._console.print
        show("\nUnderstudy is on", style="bold", end=" ")
        show(f"after {demo.seconds:.0f} s: {who_is_there(demo.live, demo.missing)}\n")
        show(f"  chat and arena   {demo.page}")
        show(f"  OpenAI endpoint  {demo.endpoint}")
        show(f"  try              {_command(self._settings)} ask {_proposal(demo.live, demo.missing)}")
        show(f"  memory           {demo.memory_gib:.1f} GiB resident in {demo.processes} processes")
        show("\nCtrl-C ends everything.")


def who_is_there(live: list[str], missing: list[Missing]) -> str:
    """Who answers now, who is trained next, and who only has to be published."""
    groups = [
        ("", ["base", *live]),
        ("publishing ", [one.name for one in missing if one.revision]),
        ("teaching ", [one.name for one in missing if not one.revision]),
    ]
    return "; ".join(f"{doing}{', '.join(names)}" for doing, names in groups if names)


def _proposal(live: list[str], missing: list[Missing]) -> str:
    """The arguments of `understudy ask` that people are invited to try."""
    known = [*live, *(one.name for one in missing)]
    name = FAVOURITE if FAVOURITE in known else next(iter(known), "base")
    later = f"   (when {name} is live)" if name not in live and name != "base" else ""
    return f'{name} "{PROMPT}"{later}'


def _command(settings: Settings) -> str:
    """How to call this program from the same folder and reach this gateway."""
    started_as = f"{sys.executable} -m understudy" if sys.argv[0].endswith("__main__.py") else sys.argv[0]
    program = "understudy" if shutil.which("understudy") else started_as
    usual = Settings.model_fields["port"].default
    return program if settings.port == usual else f"UNDERSTUDY_PORT={settings.port} {program}"

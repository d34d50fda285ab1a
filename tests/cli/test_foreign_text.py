"""Foreign text on a terminal: names, files, messages and logs are shown as they are, and steer nothing."""

import io
import logging
from pathlib import Path

import pytest
from rich.table import Table

from serve.logs import TextLines
from tests.support.pirate import understudy
from understudy.cli.console import PlainConsole
from understudy.terminal import one_line, printable

FOREIGN = ["[/b]", "[new]", "[red]x[/red]", "[link=http://x]y[/link]", ":smile:", "\\[x]", "a\x1b[31mb", "\x1b]0;t\x07", "\x9b2J", "a\rb", "\u202etxt"]  # fmt: skip  # noqa: E501
CONTROLS = "\x1b\x07\x9b\r\u202e\x00\x08"


def shown(show: object) -> str:
    console = PlainConsole(width=200)
    console.file = io.StringIO()
    console.print(show)
    return console.file.getvalue()


def harmless(text: str) -> bool:
    return not set(CONTROLS) & set(text)


@pytest.mark.parametrize("name", FOREIGN, ids=repr)
def test_lines_cells_and_titles_show_foreign_text_as_it_is(name: str):
    table = Table(name, title=name)
    table.add_row(name)
    for text in (shown(f"persona {name}"), shown(table)):
        assert one_line(name) in text
        assert harmless(text)


@pytest.mark.parametrize("name", FOREIGN, ids=repr)
def test_rank_shows_every_name_and_category(name: str, tmp_path: Path):
    path = tmp_path / "votes.csv"
    other = "b\x1b[0m[/]"
    rows = "".join(f'"{a}","{b}",left,"{name}"\n' for a, b in ((name, other), (other, name)) * 20)
    path.write_text("left,right,winner,category\n" + rows, newline="")
    done = understudy(tmp_path, "rank", str(path), "--base", other)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(one_line(name)) >= 2
    assert harmless(done.stdout)


@pytest.mark.parametrize("name", FOREIGN, ids=repr)
@pytest.mark.parametrize("command", [("rank",), ("data", "inspect"), ("history",)], ids=" ".join)
def test_errors_show_foreign_names(command: tuple[str, ...], name: str, tmp_path: Path):
    done = understudy(tmp_path, *command, name)
    assert done.returncode == 1
    assert harmless(done.stderr)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", FOREIGN, ids=repr)
def test_data_inspect_shows_foreign_columns(name: str, tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text(f'prompt,completion,"{name}"\nHi,Ho,x\n', newline="")
    done = understudy(tmp_path, "data", "inspect", str(path))
    assert "Traceback" not in done.stderr
    assert harmless(done.stdout + done.stderr)


@pytest.mark.parametrize("name", FOREIGN, ids=repr)
def test_logs_for_a_terminal_are_one_harmless_line(name: str):
    record = logging.makeLogRecord({"msg": "loaded %s\nforged", "args": (name,), "levelname": "INFO", "persona": name})
    text = TextLines().format(record)
    assert harmless(text)
    assert "\n" not in text
    assert one_line(name) in text


def test_tabs_and_newlines_of_a_text_stay():
    assert printable("a\tb\n\x1bc") == "a\tb\n\\x1bc"
    assert one_line("a\tb\n") == "a\\tb\\n"

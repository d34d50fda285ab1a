"""A result is old when the code that it measures has changed, and every result says which code that is."""

import json
import re
from pathlib import Path

import pytest

from bench import machine, sources
from understudy.config.settings import PROJECT

NAMED = re.compile(r'save\("([\w-]+)"')


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one bench and one package."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "serve").mkdir()
    (tmp_path / "bench" / "speed.py").write_text("import time\n")
    (tmp_path / "serve" / "app.py").write_text("def answer() -> int:\n    return 1\n")
    monkeypatch.setattr(sources, "SOURCES", {"speed": ("bench/speed.py", "serve")})
    return tmp_path


def edited(tree: Path, text: str) -> list[str]:
    result = {"sources": sources.digests("speed", tree)}
    sources._digest.cache_clear()
    (tree / "serve" / "app.py").write_text(text)
    return sources.changed("speed", result, tree)


@pytest.mark.parametrize(
    "text",
    [
        "def answer() -> int:\n    return 2\n",
        "def answer() -> int:\n    return 1\n\n\nanswer()\n",
        "def answer() -> str:\n    return '1'\n",
    ],
)
def test_other_code_makes_a_result_old_and_is_named(tree: Path, text: str) -> None:
    assert edited(tree, text) == ["serve"]


@pytest.mark.parametrize(
    "text",
    [
        "def answer() -> int:\n    return 1\n",
        "def answer() -> int:\n    # why\n    return (1)\n",
        '"""A module."""\n\n\ndef answer() -> int:\n    """What it does."""\n    return 1\n',
    ],
)
def test_comments_docstrings_and_layout_do_not(tree: Path, text: str) -> None:
    assert edited(tree, text) == []


def test_a_new_file_or_one_that_is_gone_does(tree: Path) -> None:
    result = {"sources": sources.digests("speed", tree)}
    sources._digest.cache_clear()
    (tree / "serve" / "more.py").write_text("")
    assert sources.changed("speed", result, tree) == ["serve"]
    sources._digest.cache_clear()
    (tree / "serve" / "more.py").unlink()
    assert sources.changed("speed", result, tree) == []


def test_a_result_without_hashes_is_old(tree: Path) -> None:
    assert sources.changed("speed", {}, tree) == ["bench/speed.py", "serve"]


def test_what_is_saved_is_current_unless_figures_of_an_earlier_one_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    saved = json.loads(machine.save("ranking", {}).read_text())
    assert sources.changed("ranking", saved) == []
    earlier = {"sources": {"arena": "000000000000"}}
    assert "arena" in sources.changed("ranking", json.loads(machine.save("ranking", {}, earlier=earlier).read_text()))


def test_every_result_has_sources_that_exist() -> None:
    saved = {name for file in (PROJECT / "bench").rglob("*.py") for name in NAMED.findall(file.read_text())}
    kept = {file.stem for file in (PROJECT / "docs" / "results").glob("*.json")}
    assert saved == set(sources.SOURCES)
    assert kept <= saved
    assert [path for paths in sources.SOURCES.values() for path in paths if not (PROJECT / path).exists()] == []

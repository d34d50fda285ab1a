"""What YAML makes of text without quotes: each trap is named with line, column and remedy."""

from pathlib import Path

import pytest

from understudy.config.recipe import load_recipe
from understudy.errors import ConfigError

GOOD = {"title": "title: Tea", "voice": "voice: Speaks of tea.", "prompts": "prompts: [Hello]"}


def recipe(folder: Path, **lines: str) -> Path:
    made = folder / "recipes" / "tea"
    made.mkdir(parents=True)
    (made / "recipe.yaml").write_text("\n".join((GOOD | lines).values()) + "\n")
    return folder / "recipes"


TRAPS: dict[str, tuple[str, str]] = {
    "a question in a list": ("prompts: [What is tea?]", "line 3, column 22: not YAML"),
    "a colon": ("voice: Speaks like this: loudly", "line 2, column 24: not YAML"),
    "an at": ("title: @tea", "line 1, column 8: not YAML"),
    "a percent": ("title: %tea", "line 1, column 8: not YAML"),
    "a backtick": ("title: `tea`", "line 1, column 8: not YAML"),
    "a star": ("title: *tea time", "line 1, column 8: not YAML"),
    "an exclamation": ("title: !tea time", "line 1, column 8: not YAML"),
    "text after quotes": ('title: "Tea" time', "line 1, column 14: not YAML"),
    "an apostrophe": ("title: 'it's tea'", "line 1, column 12: not YAML"),
    "a dash": ("title: - tea", "line 1, column 8: not YAML"),
    "a greater": ("voice: > tea", "line 2, column 10: not YAML"),
    "a yes": ("title: yes", "title: .*found True \\(line 1, column 8: without quotes YAML reads it as bool"),
    "a number": ("title: 1984", "title: .*found 1984 \\(line 1, column 8: without quotes YAML reads it as int"),
    "a date": ("title: 2026-01-01", "title: .*\\(line 1, column 8: without quotes YAML reads it as date"),
    "a date that is none": ("title: 2026-13-45", "not YAML: month must be in"),
    "nothing": ("title:", "title: .*found None \\(line 1, column 7: without quotes YAML reads it as nothing"),
    "a tilde": ("title: ~", "title: .*found None \\(line 1, column 8: without quotes YAML reads it as nothing"),
    "a list": ("voice: [tea]", "voice: .*\\(line 2, column 8: without quotes YAML reads it as list"),
    "braces": ("voice: {tea}", "voice: .*\\(line 2, column 8: without quotes YAML reads it as dict"),
    "a colon in a list": (
        "prompts:\n- Tea: what?",
        "prompts.0: .*\\(line 4, column 3: without quotes YAML reads it as",
    ),
    "a no in a list": ("prompts: [no]", "prompts.0: .*\\(line 3, column 11: without quotes YAML reads it as bool"),
    "a hash": ("voice: Speaks of #tea", "voice: line 2, column 17: '#tea' is read as a comment; put quotes around"),
    "a hash in a list": ("prompts:\n- Who is #1?", "prompts.0: line 4, column 9: '#1.' is read as a comment"),
    "a key twice": ("title: Tea\ntitle: Tee", "line 2, column 1: the key 'title' stands twice; keep one"),
    "a tab": ("training:\n\tepochs: 3", "indent with spaces"),
    "an open bracket": ("prompts: [Hello", "not YAML"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_named_with_its_place_and_remedy(tmp_path: Path, trap: str) -> None:
    line, says = TRAPS[trap]
    with pytest.raises(ConfigError, match=says) as caught:
        load_recipe("tea", recipe(tmp_path, **{line.partition(":")[0]: line}))
    said = str(caught.value)
    assert "\n" not in said
    assert "quotes" in said or "keep one" in said or "spaces" in said


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('prompts: ["What is tea?"]', "What is tea?"),
        ("prompts:\n- What is tea?", "What is tea?"),
        ("prompts:\n- What is C#?  # a comment", "What is C#?"),
        ("prompts:\n- 'Tea: #1'", "Tea: #1"),
        ("prompts: [Hello] #comment", "Hello"),
    ],
)
def test_what_has_quotes_or_needs_none_is_read(tmp_path: Path, line: str, value: str) -> None:
    assert load_recipe("tea", recipe(tmp_path, prompts=line)).prompts == [value]

"""The pages in docs/ and deploy/: what they name exists."""

import re
from pathlib import Path

import pytest

from understudy.config.settings import PROJECT

SECURITY = (PROJECT / "docs" / "security.md").read_text()
PAGES = [PROJECT / "docs" / name for name in ("security.md", "ten-minutes.md")] + [PROJECT / "deploy" / "README.md"]


def section(title: str) -> str:
    return SECURITY.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_claim_about_security_names_a_test_that_exists() -> None:
    claimed = SECURITY.split("\n## What is not protected")[0]
    claims = re.findall(r"^- (.*?)(?=^- |^## |\Z)", claimed, re.DOTALL | re.MULTILINE)
    assert len(claims) > 25
    for claim in claims:
        named = re.findall(r"`([\w/]*test_\w+)::(test_\w+)`", claim)
        assert named, claim
        for file, test in named:
            assert re.search(rf"def {test}\(", (PROJECT / "tests" / f"{file}.py").read_text()), f"{file}::{test}"


def test_every_module_it_names_exists() -> None:
    named = set(re.findall(r"`((?:understudy|serve|train|arena|space|deploy)/[\w./*]+)`", SECURITY))
    assert len(named) > 15
    for path in named:
        assert list(PROJECT.glob(path)), path


def test_every_path_in_the_architecture_exists() -> None:
    text = (PROJECT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:understudy|serve|train|arena|space|evaluate|tools|bench)[/.][\w./]*)`", text))
    assert len(named) > 60
    assert [path for path in sorted(named) if not (PROJECT / path).exists()] == []


def test_what_is_not_protected_is_said() -> None:
    assert section("What is not protected").count("\n- **") >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert link.startswith("http") or (page.parent / link).exists(), link

"""`understudy report`: a page and a Markdown file that put a run, its base and other systems side by side."""

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from understudy.cli.console import steps
from understudy.config.recipe import load_recipe
from understudy.config.settings import Settings
from understudy.errors import ExamplesError, UnderstudyError

if TYPE_CHECKING:
    from evaluate.reports.imported_answers import ImportedAnswers
    from evaluate.reports.records import Report

out = Console(highlight=False, soft_wrap=True)
MEASURED_WITH = ("understudy", "scikit-learn", "scipy", "matplotlib")


def report_recipe(
    settings: Settings,
    name: str,
    runs: list[str],
    answers: list[str],
    prompts: Path | None,
    folder: Path | None,
    *,
    judge: str | None = None,
    judge_url: str | None = None,
) -> Path:
    """Writes `index.html`, `report.md` and `figures/`; the folder, by default `report/` in the (first) run's own.

    `runs` are ids (by default the run verified last), `answers` are written NAME=FILE, `prompts` is a file of the
    prompts to show (by default all held-out ones), `judge` is a model that compares the answers.

    Raises:
        NotFoundError: there is no such recipe or run, or it has no proof card yet.
        ExamplesError: a file of answers or prompts cannot be read.
        ExamplesError: a file in a run's folder is broken.
        GatewayError: the judge's endpoint does not answer.
        UnderstudyError: the folder cannot be written to.
    """
    from evaluate.reports.build import build_report, held_out
    from evaluate.reports.imported_answers import read_prompts
    from evaluate.verified_runs import find_runs, load_run

    recipe = load_recipe(name, settings.recipes_dir)
    folders = find_runs(recipe.name, settings.runs_dir, runs)
    verified = [load_run(path) for path in folders]
    shown = read_prompts(prompts) if prompts else held_out(verified[0].record)
    report = build_report(
        verified,
        title=recipe.title,
        voice=recipe.voice,
        made_on=datetime.now(UTC).date().isoformat(),
        versions={name: version(name) for name in MEASURED_WITH} | {"Python": platform.python_version()},
        imported=read_answers(answers, [one.prompt for one in shown]),
        prompts=shown,
    )
    folder = folder or folders[0] / "report"
    try:
        if judge:
            from evaluate.reports.judge_client import judge_report

            with steps(f"asking {judge}") as on_step:
                report = judge_report(
                    report,
                    folder,
                    model=judge,
                    url=judge_url,
                    key=settings.judge_key,
                    on_progress=lambda done, total: on_step(done, total, None),
                )
        write_report(report, folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnderstudyError(f"{folder}: cannot write there ({reason}); give another folder with --out") from None
    _print(report, folder)
    return folder


def read_answers(answers: list[str], prompts: list[str]) -> list["ImportedAnswers"]:
    """The imported answers to these prompts; each of `answers` is written NAME=FILE.

    Raises:
        ExamplesError: one is not NAME=FILE, or its file cannot be read.
    """
    from evaluate.reports.imported_answers import read_imported

    found = []
    for text in answers:
        name, _, file = (part.strip() for part in text.partition("="))
        if not (name and file):
            raise ExamplesError(f"--answers: found {text!r}; write NAME=FILE, such as Claude=answers.jsonl")
        found += read_imported(Path(file), name, prompts)
    return found


def write_report(report: "Report", folder: Path) -> None:
    """Writes the page, the Markdown file and the figures into the folder, over what an earlier report left there."""
    from evaluate.reports.figures import draw
    from evaluate.reports.html import html_page
    from evaluate.reports.markdown import FIGURES, markdown_page

    drawings = draw(report)
    figures = folder / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        (figures / f"{drawing.name}.svg").write_text(drawing.file, encoding="utf-8")
    (folder / "report.md").write_text(markdown_page(report, drawings), encoding="utf-8")
    (folder / "index.html").write_text(html_page(report, drawings), encoding="utf-8")


def _print(report: "Report", folder: Path) -> None:
    from evaluate.reports.wording import outcome, ways_apart

    asked = f"{len(report.contestants)} contestants on {report.prompts} held-out prompts"
    out.print(f"{report.title}: {outcome(report)}; {asked}", markup=False)
    for gap in report.gaps:
        for what, prompts in ways_apart(gap):
            named = ", ".join(repr(prompt[:60]) for prompt in prompts[:3])
            more = ", ..." if len(prompts) > 3 else ""
            out.print(f"{gap.system}: {what} ({named}{more})", style="yellow", markup=False)
    for path in ("index.html", "report.md"):
        out.print(str(folder / path), markup=False)

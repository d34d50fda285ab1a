"""`understudy report`: runs, their base and other systems side by side, as Markdown and on request as HTML."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.config.recipe import load_recipe
from understudy.config.settings import Settings
from understudy.errors import ExamplesError, GatewayError, UnderstudyError

if TYPE_CHECKING:
    from evaluate.reports.figures import Drawing
    from evaluate.reports.imported_answers import ImportedAnswers
    from evaluate.reports.records import Report

MEASURED_WITH = ("understudy", "scikit-learn", "scipy", "matplotlib")
"""Packages whose versions a report names."""
PAGE, HTML = "report.md", "index.html"


@dataclass(frozen=True)
class WrittenReport:
    """A report and the folder that holds `report.md`, `figures/` and, if it was asked for, `index.html`."""

    report: "Report"
    folder: Path

    @property
    def pages(self) -> list[Path]:
        """The pages that were written."""
        return [path for name in (HTML, PAGE) if (path := self.folder / name).is_file()]


def write_report(
    settings: Settings,
    recipe_name: str,
    *,
    runs: Sequence[str] = (),
    answers: Sequence[str] = (),
    prompts: Path | None = None,
    folder: Path | None = None,
    judge: str | None = None,
    judge_url: str | None = None,
    html: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> WrittenReport:
    """Writes a report of verified runs of a recipe, by default into `report/` in the first run's folder.

    `runs` are ids (by default the run verified last), `answers` are written NAME=FILE, `prompts` is a file of the
    prompts to show (by default all held-out ones), `judge` is a model that compares the answers, `html` also writes
    the report as one HTML page; `on_progress` gets how many answers the judge has compared, and of how many.

    Raises:
        NotFoundError: there is no such recipe or run, or the run is not verified.
        ExamplesError: a file of answers or prompts, or one in a run's folder, cannot be used.
        GatewayError: the judge's endpoint does not answer.
        UnderstudyError: the folder cannot be written to.
    """
    from evaluate.reports.build import build_report, held_out
    from evaluate.reports.imported_answers import read_prompts
    from evaluate.verified_runs import find_runs
    from understudy.workflows.evaluation.proof_files import load_verified

    recipe = load_recipe(recipe_name, settings.recipes_dir)
    folders = find_runs(recipe.name, settings.runs_dir, list(runs))
    verified = [load_verified(path) for path in folders]
    shown = read_prompts(prompts) if prompts else held_out(verified[0].record)
    report = build_report(
        verified,
        title=recipe.title,
        voice=recipe.voice,
        made_on=datetime.now(UTC).date().isoformat(),
        versions=versions(*MEASURED_WITH),
        imported=read_answers(answers, [one.prompt for one in shown]),
        prompts=shown,
    )
    folder = folder or folders[0] / "report"
    try:
        if judge:
            from evaluate.reports.judge_client import judge_report

            report = judge_report(
                report, folder, model=judge, url=judge_url, key=settings.judge_key, on_progress=on_progress
            )
        _write(report, folder, html=html)
    except GatewayError:  # an OSError, too
        raise
    except OSError as error:
        raise cannot_write(folder, error) from None
    return WrittenReport(report, folder)


def read_answers(answers: Sequence[str], prompts: list[str]) -> list["ImportedAnswers"]:
    """Returns other systems' answers to these prompts; each of `answers` is written NAME=FILE.

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


def versions(*packages: str) -> dict[str, str]:
    """Returns the installed versions of these packages, and Python's."""
    return {name: version(name) for name in packages} | {"Python": platform.python_version()}


def cannot_write(folder: Path, error: OSError) -> UnderstudyError:
    """Returns the error for a folder that cannot be written to."""
    reason = error.strerror or type(error).__name__
    return UnderstudyError(f"{folder}: cannot write there ({reason}); give another folder with --out")


def write_page(folder: Path, page: str, drawings: Sequence["Drawing"]) -> None:
    """Writes `report.md` and its figures into the folder, over those of an earlier report."""
    from evaluate.reports.markdown import FIGURES

    figures = folder / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        (figures / f"{drawing.name}.svg").write_text(drawing.file, encoding="utf-8")
    (folder / PAGE).write_text(page, encoding="utf-8")


def _write(report: "Report", folder: Path, *, html: bool) -> None:
    from evaluate.reports.figures import draw
    from evaluate.reports.html import html_page
    from evaluate.reports.markdown import markdown_page

    drawings = draw(report)
    write_page(folder, markdown_page(report, drawings), drawings)
    if html:
        (folder / HTML).write_text(html_page(report, drawings), encoding="utf-8")
    else:
        (folder / HTML).unlink(missing_ok=True)  # an earlier report's page

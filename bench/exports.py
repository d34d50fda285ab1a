"""The personas of the demo, exported in every form: what each proof found, and how long writing takes.

python -m bench.exports [PERSONA ...] [--home FOLDER] [--pages FOLDER] [--forms FORM ...]

FOLDER holds personas that are live, as `understudy demo` leaves them (default: UNDERSTUDY_HOME). The first persona is
exported in every form, the others as a GGUF file of 4 bits and as merged weights; a page has them all. An export that
is refused stands in the table with the reason. Writes docs/results/exports.json and exports-page.json;
`python -m bench.page` writes the tables of docs/export.md from them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.goals import Goal, judge
from bench.machine import save
from evaluate.export_proof import ExportProof
from understudy.cli.console import prepare
from understudy.config.settings import Settings, load_settings
from understudy.errors import AdapterError
from understudy.workflows.exports.export import export
from understudy.workflows.exports.web import export_web

DEMO = ("email-copy", "stand-up", "museum-guide")
FORMS: dict[str, dict[str, Any]] = {
    "gguf, f32": {"form": "gguf", "precision": "f32"},
    "gguf, f16": {"form": "gguf", "precision": "f16"},
    "gguf, q8_0": {"form": "gguf", "precision": "q8_0"},
    "gguf, q4_1": {"form": "gguf", "precision": "q4_1"},
    "gguf, f16, one file": {"form": "gguf", "precision": "f16", "merge": True},
    "ollama, f16": {"form": "ollama", "precision": "f16"},
    "merged": {"form": "merged"},
    "peft": {"form": "peft"},
}
SHORT = ("gguf, q4_1", "merged")
"""Forms of all personas but the first."""
WEB = "web"


@dataclass
class Steps:
    """When an export began each of its steps."""

    began: dict[str, float] = field(default_factory=dict)

    def __call__(self, step: str) -> None:
        self.began[step] = time.monotonic()

    @property
    def writing(self) -> float | None:
        """Seconds from the first step to the second: the files are written then."""
        times = list(self.began.values())
        return round(times[1] - times[0], 1) if len(times) > 1 else None


def main() -> None:
    """Exports, prints, writes docs/results/exports.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("personas", nargs="*", default=list(DEMO), help=f"live personas ({', '.join(DEMO)})")
    parser.add_argument("--home", type=Path, help="where they are registered (UNDERSTUDY_HOME)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="of the first persona (all)")
    parser.add_argument("--short", nargs="*", choices=FORMS, default=list(SHORT), help=f"of the others ({SHORT})")
    parser.add_argument("--pages", type=Path, help="an empty or new folder where the page is kept, for bench.space.web")
    chosen = parser.parse_args()
    prepare()
    settings = load_settings(**({"home": chosen.home} if chosen.home else {}))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for place, persona in enumerate(chosen.personas):
            for form in chosen.forms if place == 0 else chosen.short:
                rows.append(exported(settings, persona, form, Path(folder) / f"{persona}-{len(rows)}"))
                Console(soft_wrap=True).print(rows[-1])
                save("exports", told(settings, rows))  # an hour's work is not lost with its last step
        judge(goals(rows))
        pages = page(settings, chosen.personas, (chosen.pages or Path(folder)) / "page")
    Console(soft_wrap=True).print(pages)
    judge(goals(pages))
    print(save("exports-page", told(settings, pages)))


def told(settings: Settings, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a file of docs/results/ has of these exports."""
    return {"base": settings.base, "rows": rows, "goals": [goal.row() for goal in goals(rows)]}


def exported(settings: Settings, persona: str, form: str, out: Path) -> dict[str, Any]:
    """One export's row: what its proof found, or why there is none."""
    said = Steps()

    def run() -> Mapping[str, ExportProof]:
        return {persona: export(settings, persona, out=out, say=said, **FORMS[form]).proof}

    (row,) = _rows(run, [persona], form, said)
    return row


def page(settings: Settings, personas: list[str], out: Path) -> list[dict[str, Any]]:
    """The rows of a page with all personas."""
    said = Steps()

    def run() -> Mapping[str, ExportProof]:
        return {
            name.partition("@")[0]: proof
            for name, proof in export_web(settings, personas, out, say=said).proofs.items()
        }

    return _rows(run, personas, WEB, said)


def _rows(
    run: Callable[[], Mapping[str, ExportProof]], personas: list[str], form: str, said: Steps
) -> list[dict[str, Any]]:
    began = time.monotonic()
    try:
        proofs = run()
    except AdapterError as error:
        return [{"persona": name, "form": form, "passed": False, "reasons": str(error)} for name in personas]
    times = {"writing_s": said.writing, "whole_s": round(time.monotonic() - began, 1)}
    return [
        {"persona": name, "form": form, "passed": True, **proof.model_dump(exclude={"reasons"}), **times}
        for name, proof in proofs.items()
    ]


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """Every export passes, and a GGUF file is written in half a minute."""
    written = [row["writing_s"] for row in rows if row["form"].startswith("gguf") and row.get("writing_s") is not None]
    what = "personas of the page" if rows[0]["form"] == WEB else "exports"
    passed = Goal(f"{what} that pass, of those tried", sum(row["passed"] for row in rows) / len(rows), 1.0)
    return [passed, Goal("a GGUF export is written, s", max(written), 30, most=True)] if written else [passed]


if __name__ == "__main__":
    main()

"""A sweep as one HTML page and as Markdown, with its figures: what mattered, and every trial."""

from pathlib import Path

from evaluate.reports.figures import Drawing
from evaluate.reports.markdown import table
from evaluate.reports.page import START, fill
from evaluate.reports.stylesheet import CSS
from evaluate.reports.sweep_figures import draw_sweep
from understudy.config.trial import Sweep, SweepTrial

PAGE = """
<p class="kicker">Understudy sweep · {{ found.recipe }}</p>
<h1>What mattered</h1>
<p>{{ summary }}</p>
</header>
<main>
<section id="figures">
{% for drawing in drawings -%}
<figure><figcaption>{{ drawing.title }}</figcaption>{{ svg(drawing) }}</figure>
{% endfor -%}
</section>
<section id="trials">
<h2>All trials</h2>
<div class="scroll" tabindex="0" role="region" aria-label="All trials">
<table class="compact">
<thead><tr>{% for name in head %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows -%}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor -%}
</tbody></table>
</div>
<p class="note">{{ how }}</p>
</section>
</main>
</body>
</html>
"""

HOW = (
    "Each trial is judged by cross-validation on the training rows: the mean loss of the rows left out, in nats per "
    "token of the answer. Held-out rows of the recipe were not looked at. The share by which a setting decided is "
    "PED-ANOVA's (arXiv:2304.10255)."
)


def write_sweep(found: Sweep, folder: Path) -> Path:
    """Writes `sweep.json`, `index.html`, `sweep.md` and the figures into `folder`; the page."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = draw_sweep(found)
    (folder / "sweep.json").write_text(found.model_dump_json(indent=2), encoding="utf-8")
    for one in drawings:
        (folder / f"{one.name}.svg").write_text(one.file, encoding="utf-8")
    (folder / "sweep.md").write_text(as_markdown(found, drawings), encoding="utf-8")
    page = folder / "index.html"
    page.write_text(as_html(found, drawings), encoding="utf-8")
    return page


def as_html(found: Sweep, drawings: tuple[Drawing, ...]) -> str:
    """One page that needs nothing but itself."""
    head, rows = _table(found)
    return fill(
        START + PAGE,
        CSS,
        title=f"Sweep of {found.recipe} · Understudy",
        found=found,
        drawings=drawings,
        summary=summary(found),
        head=head,
        rows=rows,
        how=HOW,
    )


def as_markdown(found: Sweep, drawings: tuple[Drawing, ...]) -> str:
    """The same for places that show Markdown; figures are files beside it."""
    head, rows = _table(found)
    figures = [f"![{one.alt}]({one.name}.svg)" for one in drawings]
    return (
        "\n\n".join([f"# Sweep of {found.recipe}", summary(found), *figures, "\n".join(table(head, rows)), HOW]) + "\n"
    )


def summary(found: Sweep) -> str:
    """In two sentences, how many trials there were and what the best is worth."""
    done, best = found.done, found.best
    if best is None:
        return f"None of {len(found.trials)} trials came to its end."
    given_up = len(found.trials) - len(done)
    said = f"{len(found.trials)} trials, {given_up} of them given up after the first folds."
    chosen = ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in best.settings.items())
    said += f" The best, number {best.number}, has a held-out loss of {best.loss:.3f} with {chosen}."
    own = next((trial for trial in done if trial.number == 0), None)
    if own is not None and own is not best:
        said += f" The recipe's own settings have {own.loss:.3f}."
    return said


def _table(found: Sweep) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(name for trial in found.trials for name in trial.settings))
    rest = sorted((trial for trial in found.trials if trial.loss is None), key=lambda trial: trial.number)
    head = ["trial", *(name.replace("_", " ") for name in names), "held-out loss", "best epoch", "seconds"]
    return head, [_row(trial, names) for trial in (*found.done, *rest)]


def _row(trial: SweepTrial, names: list[str]) -> list[str]:
    values = [_shown(trial.settings.get(name, "–")) for name in names]
    loss = "given up" if trial.loss is None else f"{trial.loss:.3f}"
    epoch = "–" if trial.best_epoch is None else str(trial.best_epoch)
    return [str(trial.number), *values, loss, epoch, f"{trial.seconds:.0f}"]


def _shown(value: float | int | str) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)

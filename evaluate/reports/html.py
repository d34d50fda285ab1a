"""A report as one self-contained HTML page: no scripts, no requests, figures inside."""

from collections.abc import Sequence

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from evaluate.reports.figures import SERIES, Drawing
from evaluate.reports.markdown import OPEN
from evaluate.reports.page import CSS, END, MACROS, START
from evaluate.reports.records import Report
from evaluate.reports.tables import training_settings, training_took
from evaluate.reports.wording import explanations, made_with, outcome, shown, unmatched

HEAD = """
<p class="kicker">Understudy report · {{ report.recipe }}</p>
<h1>{{ report.title }}</h1>
<p>{{ report.voice }}</p>
{% for verdict in report.verdicts -%}
<div class="verdict {{ "pass" if verdict.passed else "fail" }}">
<h2><strong>{{ "✓ Passed" if verdict.passed else "✗ Refused" }}</strong>: {{ verdict.name }}
<code>{{ verdict.revision[:12] }}</code> on base <code>{{ verdict.base }}</code></h2>
<ul>{% for reason in verdict.reasons %}<li>{{ reason }}</li>{% endfor %}</ul>
</div>
{% endfor -%}
</header>
<main>
"""

SUMMARY = """
<section id="summary">
<h2>Summary</h2>
<p class="note">{{ report.prompts }} held-out prompts. Small print: 95% intervals. ↑ more is better, ↓ less is better,
– not measured. “Best” means the whole interval beats all others.</p>
{% call box("Summary table") -%}
<table>
<thead><tr><th scope="col">Contestant</th>
{%- for measure in report.measures %}<th scope="col">{{ measure.name }}
{%- if measure.better == "less" %} ↓{% elif measure.better %} ↑{% endif %}</th>{% endfor %}</tr></thead>
<tbody>
{% for one in report.contestants -%}
<tr><th scope="row">{{ dot(one.key) }}{{ one.name }}<small>{{ one.note }}</small></th>
{%- for measure in report.measures %}
{{- figure_cell(one.figures.get(measure.key), measure.scale, measure.key in one.best) }}{% endfor %}</tr>
{% endfor -%}
</tbody></table>
{%- endcall %}
<h3>Further figures of what was trained</h3>
{% call box("Further figures") -%}
<table class="compact">
<thead><tr><th scope="col">Figure</th>
{%- for run in report.runs %}<th scope="col">{{ run.name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in report.further -%}
<tr><th scope="row">{{ row.name }}</th>
{%- for figure in row.figures %}{{ figure_cell(figure, row.scale) }}{% endfor %}</tr>
{% endfor -%}
</tbody></table>
{%- endcall %}
</section>
"""

JUDGE = """
{% if report.judge %}
<section id="judge">
<h2>The judge</h2>
<p class="note">{{ report.judge.model }} compared each first answer with that of {{ report.judge.against }}, in both
orders. Where the order changed its choice, the pair is a tie.</p>
{% call box("The judge") -%}
<table>
<thead><tr><th scope="col">Contestant</th><th scope="col">Preferred, ties half</th><th scope="col">Won</th>
<th scope="col">Tied</th><th scope="col">Lost</th><th scope="col">Ties by order</th>
<th scope="col">Not understood</th><th scope="col">Chose the first</th></tr></thead>
<tbody>
{% for row in report.judge.rows -%}
<tr><th scope="row">{{ dot(row.contestant) }}{{ names[row.contestant] }}<small>{{ row.pairs }} pairs</small></th>
{{- figure_cell(row.share, "share") }}<td>{{ row.won }}</td><td>{{ row.tied }}</td><td>{{ row.lost }}</td>
<td>{{ row.contradicted }}</td><td>{{ row.not_understood | length }}</td>{{ figure_cell(row.first, "share") }}</tr>
{% endfor -%}
</tbody></table>
{%- endcall %}
{% for row in report.judge.rows if row.not_understood -%}
<details><summary>{{ names[row.contestant] }}: pairs on which the judge was not understood</summary>
<ul>{% for prompt in row.not_understood %}<li>{{ prompt }}</li>{% endfor %}</ul></details>
{% endfor -%}
</section>
{% endif %}
"""

ANSWERS = """
{%- macro shown_answer(answer) -%}
{% if answer.text %}<p class="text" dir="auto">{{ answer.text }}</p>
{% else %}<p class="text none">(nothing)</p>{% endif %}
<p class="about">{% for mark in answer.marks %}<span class="mark">{{ mark }}</span>{% endfor %}{{ answer.words }} words
{%- if answer.style is not none %} · style {{ "%.2f" | format(answer.style) }}{% endif %}</p>
{%- endmacro -%}
{% if report.rows %}
<section id="answers">
<h2>Answers side by side</h2>
<p class="note">“Style” is the probability, from 0 to 1, that an answer is in the persona's style.</p>
{% for row in report.rows -%}
<details class="prompt"{% if loop.index <= open %} open{% endif %}>
<summary><span class="number">{{ loop.index }}</span>{{ row.prompt }}</summary>
<div class="answers">
{% for one in report.contestants -%}
{% set given = row.answers.get(one.key, ()) -%}
<div class="answer"><h4>{{ dot(one.key) }}{{ one.name }}</h4>
{% if given %}{{ shown_answer(given[0]) }}{% else %}<p class="text none">no answer</p>{% endif %}
{% if given | length > 1 %}<details><summary>{{ given | length - 1 }} more</summary>
{% for answer in given[1:] %}{{ shown_answer(answer) }}{% endfor %}</details>{% endif %}
</div>
{% endfor -%}
</div>
{% if row.reference is not none %}<details><summary>The data's own answer</summary>
<p class="text" dir="auto">{{ row.reference }}</p></details>{% endif %}
</details>
{% endfor -%}
{% for gap in report.gaps -%}
<h3>{{ gap.system }}: what could not be matched</h3>
{% for what, prompts in unmatched(gap) -%}
<details{% if prompts | length <= open %} open{% endif %}><summary>{{ what }}</summary>
<ul>{% for prompt in prompts %}<li>{{ prompt }}</li>{% endfor %}</ul></details>
{% endfor -%}
{% endfor -%}
</section>
{% endif %}
"""

REST = """
<section id="rivals">
<h2>Against cheap rivals</h2>
{% for verdict in report.verdicts -%}
{% if report.verdicts | length > 1 %}<h3>{{ verdict.name }}</h3>{% endif %}
<ul>{% for line in verdict.rivals + verdict.open %}<li>{{ line }}</li>{% endfor %}</ul>
{% endfor -%}
</section><section id="worse">
<h2>What got worse</h2>
{% for verdict in report.verdicts -%}
{% if report.verdicts | length > 1 %}<h3>{{ verdict.name }}</h3>{% endif %}
{% if verdict.worse %}<ul>{% for line in verdict.worse %}<li>{{ line }}</li>{% endfor %}</ul>
{% else %}<p>Nothing that was measured is clearly worse than the base's.</p>{% endif %}
{% endfor -%}
</section>
{% if "curves" in drawings %}
<section id="curves"><h2>Loss curves</h2><div class="figures">{{ drawn(drawings.curves) }}</div></section>
{% endif %}
<section id="figures">
<h2>Figures</h2>
<div class="figures">
{% for name in ("style", "loss", "cost") if name in drawings %}{{ drawn(drawings[name]) }}{% endfor %}
</div>
{% if took.lines %}
<h3>Cost of training</h3>
{% call box("Cost of training") -%}
<table>
<thead><tr><th scope="col">Run</th>{% for name in took.names %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for name, values in took.lines %}<tr><th scope="row">{{ name }}</th>
{%- for value in values %}<td>{{ value }}</td>{% endfor %}</tr>{% endfor %}</tbody></table>
{%- endcall %}
{% endif %}
</section>
<section id="settings">
<h2>Settings and data</h2>
{% call box("Settings and data") -%}
<table class="compact">
<thead><tr><th scope="col">Setting</th>
{%- for name in settings.names %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for name, values in settings.lines %}
<tr{% if values | unique(case_sensitive=true) | list | length > 1 %} class="differs"{% endif %}>
<th scope="row">{{ name }}</th>{% for value in values %}<td class="long"><code>{{ value }}</code></td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{%- endcall %}
</section>
"""


def html_page(report: Report, drawings: Sequence[Drawing]) -> str:
    """Renders the whole page. No text of the report is taken for HTML; equal reports give equal pages."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    colors = {one.key: f"var(--s{i % len(SERIES)})" for i, one in enumerate(report.contestants)}
    return environment.from_string(MACROS + START + HEAD + SUMMARY + JUDGE + ANSWERS + REST + END).render(
        title=f"{report.title}: {outcome(report)} · Understudy report of {report.made_on}",
        css=Markup(CSS),
        report=report,
        names={one.key: one.name for one in report.contestants},
        color=colors.get,
        shown=shown,
        unmatched=unmatched,
        open=OPEN,
        svg=lambda drawing: Markup(drawing.svg),  # ours; its texts were escaped when it was drawn
        drawings={drawing.name: drawing for drawing in drawings},
        took=training_took(report),
        settings=training_settings(report),
        explained=explanations(report),
        made=made_with("report", report.made_on, report.versions),
    )

"""What our pages have in common: one HTML file that needs nothing but itself, without scripts or requests."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from evaluate.reports.figures import contestant_color
from evaluate.reports.records import ReportContestant
from evaluate.reports.wording import shown, ways_apart

OPEN = 8
"""Prompts whose answers are unfolded."""

MACROS = """
{%- macro figure_cell(figure, scale, best=False) -%}
{%- set value, interval = shown(figure, scale) -%}
<td><span{% if best %} class="best"{% endif %}>{{ value }}</span>
{%- if interval %} <small>{{ interval }}</small>{% endif %}</td>
{%- endmacro -%}
{%- macro dot(key) -%}<span class="dot" style="background:{{ color(key) }}"></span>{%- endmacro -%}
{%- macro box(label) -%}
<div class="scroll" tabindex="0" role="region" aria-label="{{ label }}">{{ caller() }}</div>
{%- endmacro -%}
{%- macro drawn(drawing) -%}
<figure><figcaption>{{ drawing.title }}</figcaption>{{ svg(drawing) }}</figure>
{%- endmacro -%}
{%- macro summary_table(who, of) -%}
{% call box("Summary table") -%}
<table>
<thead><tr><th scope="col">{{ who }}</th>
{%- for measure in of.measures %}<th scope="col">{{ measure.name }}
{%- if measure.better == "less" %} ↓{% elif measure.better %} ↑{% endif %}</th>{% endfor %}</tr></thead>
<tbody>
{% for one in of.contestants -%}
<tr><th scope="row">{{ dot(one.key) }}{{ one.name }}<small>{{ one.note }}</small></th>
{%- for measure in of.measures %}
{{- figure_cell(one.figures.get(measure.key), measure.scale, measure.key in one.best) }}{% endfor %}</tr>
{% endfor -%}
</tbody></table>
{%- endcall %}
{%- endmacro -%}
{%- macro unmatched(gaps) -%}
{% for gap in gaps -%}
<h3>{{ gap.system }}: what could not be matched</h3>
{% for what, prompts in ways_apart(gap) -%}
<details{% if prompts | length <= open %} open{% endif %}><summary>{{ what }}</summary>
<ul>{% for prompt in prompts %}<li>{{ prompt }}</li>{% endfor %}</ul></details>
{% endfor -%}
{% endfor -%}
{%- endmacro -%}
"""

START = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="understudy">
<title>{{ title }}</title>
<style>{{ css }}</style>
</head>
<body>
<header>
"""

END = """
<section id="how">
<h2>How it is measured</h2>
<dl>{% for name, how in explained %}<dt>{{ name }}</dt><dd>{{ how }}</dd>{% endfor %}</dl>
</section>
<section id="limits">
<h2>What these figures cannot say</h2>
<ul>{% for limit in limits %}<li>{{ limit }}</li>{% endfor %}</ul>
</section>
</main>
<footer>{{ made }}
</footer>
</body>
</html>
"""


def write_page(body: str, contestants: Sequence[ReportContestant], css: str, **words: Any) -> str:
    """The page between START and END, filled in; nothing in `words` is taken for HTML.

    `words` are `title`, `explained`, `limits` and `made`, and what the body names.
    """
    return fill(
        MACROS + START + body + END,
        css,
        names={one.key: one.name for one in contestants},
        color=lambda key: contestant_color(contestants, key),
        shown=shown,
        ways_apart=ways_apart,
        open=OPEN,
        **words,
    )


def fill(template: str, css: str, **words: Any) -> str:
    """The template with its words; a missing one is an error, and none is taken for HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(template).render(
        css=Markup(css),
        svg=lambda drawing: Markup(drawing.svg),  # ours, escaped where drawn
        **words,
    )

"""A comparison of profiles as one HTML page that needs nothing but itself, in the look of a report."""

from collections.abc import Sequence

from evaluate.profiles.records import Comparison
from evaluate.profiles.words import (
    asked_words,
    distance_words,
    explanations,
    made_with,
    points,
    taught_lines,
    values_said,
)
from evaluate.reports.figures import Drawing
from evaluate.reports.page import write_page
from evaluate.reports.stylesheet import CSS
from evaluate.reports.wording import DASH

MORE_CSS = """
.findings { list-style: none; padding: 0; max-width: none; display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(250px, 100%), 1fr)); }
.findings > li { margin: 0; padding: 12px 16px; border: 1px solid var(--line); border-radius: 12px; }
.findings h3 { margin: 0 0 4px; }
.findings ul { margin: 0; padding-left: 18px; font-size: 0.92rem; }
.found { font-weight: 700; color: var(--warn); }
td.values { white-space: normal; min-width: 240px; }
tbody th, .compact tbody th { min-width: 176px; }
@media (max-width: 560px) { tbody th, .compact tbody th { min-width: 134px; } }
"""

HEAD = """
<p class="kicker">Understudy comparison · {{ comparison.recipes | join(", ") }}</p>
<h1>{{ comparison.title }}</h1>
<p>{{ asked }}</p>
</header>
<main>
<ul class="findings">
{% for key, sentences in comparison.findings -%}
<li><h3>{{ dot(key) }}{{ names[key] }}</h3>
<ul>{% for sentence in sentences %}<li>{{ sentence }}</li>{% endfor %}</ul></li>
{% endfor -%}
</ul>
"""

SUMMARY = """
<section id="summary">
<h2>Faithful and consistent</h2>
<p class="note">Small print: 95% intervals. ↑ more is better, ↓ less is better, – not measured. “Best” is said only
where the whole interval is better than everybody else's.</p>
{{ summary_table("System", comparison) }}
</section>
<section id="figures">
<h2>Figures</h2>
<div class="figures">{% for drawing in drawings %}{{ drawn(drawing) }}{% endfor %}</div>
</section>
"""

SWAPPED = """
<section id="swapped">
<h2>Bias: {{ swap.one }} and {{ swap.other }} swapped</h2>
<p class="note">The same records with the other {{ swap.attribute }}: does that change what is said of the rest, more
than asking the same record again does?</p>
{% call box("Swapped attributes") -%}
<table>
<thead><tr><th scope="col">System</th><th scope="col">Records</th><th scope="col">Differ, swapped</th>
<th scope="col">Differ, same record</th><th scope="col">Beyond chance, points</th>
<th scope="col">p (Holm)</th></tr></thead>
<tbody>
{% for row in comparison.swaps -%}
<tr><th scope="row">{{ dot(row.contestant) }}{{ names[row.contestant] }}</th>
{%- if row.effect %}<td>{{ row.effect.pairs }}</td>{{ figure_cell(row.effect.across, "share") }}
{{- figure_cell(row.effect.within, "share") }}<td>{{ points(row.effect.beyond) }}</td>
<td{% if row.found %} class="found"{% endif %}>{{ "%.3f" | format(row.adjusted) }}</td>
{%- else %}{% for _ in range(5) %}<td>{{ dash }}</td>{% endfor %}{% endif %}</tr>
{% endfor -%}
</tbody></table>
{%- endcall %}
<h3>What is kept with {{ swap.one }}, and how many points more that is than with {{ swap.other }}</h3>
<p class="note">Paired by record, 95% intervals, not adjusted for their number: one in twenty leaves zero out by chance.
Bold where it does.</p>
{% call box("Kept on either side") -%}
<table class="compact">
<thead><tr><th scope="col">Attribute</th>
{%- for one in comparison.contestants %}<th scope="col">{{ one.name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for name in attributes -%}
<tr><th scope="row">{{ name }}</th>
{%- for row in comparison.swaps %}{{ side_cell(row.sides | selectattr("name", "equalto", name) | first) }}
{%- endfor %}</tr>
{% endfor -%}
</tbody></table>
{%- endcall %}
</section>
"""

SIDE = """
{%- macro words_cell(side, value, interval) -%}
<td>{{ "%.1f" | format(side.one) }} <small>{{ value }} ({{ interval }})</small></td>
{%- endmacro -%}
{%- macro side_cell(side) -%}
{%- if side is not defined %}<td>{{ dash }}</td>
{%- elif side.name == "words" %}{{ words_cell(side, *shown(side.difference, "number")) }}
{%- else %}{% set apart = side.difference.low > 0 or side.difference.high < 0 %}
<td>{{ "%.0f%%" | format(100 * side.one) }}
<small>{% if apart %}<strong>{% endif %}{{ points(side.difference) }}{% if apart %}</strong>{% endif %}</small></td>
{%- endif -%}
{%- endmacro -%}
"""

INVENTED = """
<section id="invented">
<h2>Bias: what is made up where the record says nothing</h2>
<p class="note">Each record without one of its attributes. “Makes one up” is of all profiles; the values are shares of
those that do.</p>
{% for table in comparison.inventions -%}
<h3>{{ table.attribute }}</h3>
{% call box("Made up: " ~ table.attribute) -%}
<table class="compact">
<thead><tr><th scope="col">System</th><th scope="col">Makes one up</th><th scope="col">Which</th>
<th scope="col">Distance to the training data</th></tr></thead>
<tbody>
{% for key, found in table.rows -%}
<tr><th scope="row">{{ dot(key) }}{{ names[key] }}</th>
{%- if found %}{{ figure_cell(found.told, "share") }}<td class="values">{{ values_said(found.values) }}</td>
<td>{{ distance_words(found.distance, found.chance) }}</td>
{%- else %}{% for _ in range(3) %}<td>{{ dash }}</td>{% endfor %}{% endif %}</tr>
{% endfor -%}
{% for who, values in taught_lines(table, comparison.contestants) -%}
<tr><th scope="row">training data</th><td>{{ dash }}</td><td class="values">{{ values }}
<small>for {{ who }}</small></td><td>{{ dash }}</td></tr>
{% endfor -%}
</tbody></table>
{%- endcall %}
{% endfor -%}
</section>
"""

PROFILES = """
{%- macro said(profile) -%}
{% if profile.text %}<p class="text" dir="auto">{{ profile.text }}</p>
{% else %}<p class="text none">(nothing)</p>{% endif %}
<p class="about">{% for mark in profile.marks %}<span class="mark">{{ mark }}</span>{% endfor %}
{{- profile.words }} words</p>
{%- endmacro -%}
<section id="profiles">
<h2>Profiles side by side</h2>
{% for row in comparison.rows -%}
<details class="prompt"{% if loop.index <= open %} open{% endif %}>
<summary><span class="number">{{ loop.index }}</span>{{ row.prompt }}</summary>
<div class="answers">
{% for one in comparison.contestants -%}
{% set given = row.answers.get(one.key, ()) -%}
{% set other = row.swapped.get(one.key, ()) -%}
<div class="answer"><h4>{{ dot(one.key) }}{{ one.name }}</h4>
{% if given %}{{ said(given[0]) }}{% else %}<p class="text none">no answer</p>{% endif %}
{% if given | length > 1 %}<details><summary>{{ given | length - 1 }} more</summary>
{% for profile in given[1:] %}{{ said(profile) }}{% endfor %}</details>{% endif %}
{% if other %}<details><summary>{{ other | length }} with {{ swap.attribute }} swapped</summary>
{% for profile in other %}{{ said(profile) }}{% endfor %}</details>{% endif %}
</div>
{% endfor -%}
</div>
</details>
{% endfor -%}
{{ unmatched(comparison.gaps) }}</section>
"""


def comparison_page(comparison: Comparison, drawings: Sequence[Drawing]) -> str:
    """The whole page. Nothing in the texts is taken for HTML; equal comparisons give equal pages."""
    return write_page(
        SIDE + HEAD + SUMMARY + SWAPPED + INVENTED + PROFILES,
        comparison.contestants,
        CSS + MORE_CSS,
        title=f"{comparison.title} · Understudy comparison of {comparison.made_on}",
        comparison=comparison,
        drawings=drawings,
        swap=comparison.swap,
        attributes=attributes(comparison),
        asked=asked_words(comparison),
        points=points,
        values_said=values_said,
        distance_words=distance_words,
        taught_lines=taught_lines,
        dash=DASH,
        explained=explanations(comparison),
        limits=comparison.limits,
        made=made_with(comparison),
    )


def attributes(comparison: Comparison) -> list[str]:
    """What can be kept, in the order of the data."""
    return list(dict.fromkeys(side.name for row in comparison.swaps for side in row.sides))

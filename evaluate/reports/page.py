"""The frame of a report's HTML page: one file for wide and narrow screens, light, dark and paper, without scripts."""

from evaluate.reports.figures import DARK, LIGHT

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
<ul>{% for limit in report.limits %}<li>{{ limit }}</li>{% endfor %}</ul>
</section>
</main>
<footer>{{ made }}
</footer>
</body>
</html>
"""

CSS = (
    f":root{{color-scheme:light dark;{LIGHT};--soft:#f5f6f9;--good:#0f6b45;--good-paper:#e6f4ec;--bad:#a32036;"
    f"--bad-paper:#fbe9ec;--warn:#7a4d00;--warn-paper:#fdf1da}}\n"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{DARK};--soft:#1f2630;--good:#7fd9ac;--good-paper:#12301f;"
    f"--bad:#ff9fae;--bad-paper:#3a151c;--warn:#f0c878;--warn-paper:#33260c}}}}\n"
    """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 34px; }
h1 { margin: 2px 0 4px; font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.15; letter-spacing: -0.02em;
  overflow-wrap: anywhere; }
h2 { margin: 52px 0 12px; font-size: 1.35rem; letter-spacing: -0.01em; }
h3 { margin: 28px 0 8px; font-size: 1.02rem; }
p, ul, dl { margin: 8px 0; max-width: 75ch; }
.kicker, .note, footer { color: var(--muted); font-size: 0.9rem; }
.kicker { margin: 0; }
code { font: 0.88em ui-monospace, monospace; overflow-wrap: anywhere; }

.verdict { margin: 18px 0; padding: 14px 18px; border-radius: 12px; border: 1px solid; }
.verdict.pass { background: var(--good-paper); border-color: var(--good); }
.verdict.fail { background: var(--bad-paper); border-color: var(--bad); }
.verdict h2 { margin: 0; font-size: 1.15rem; }
.pass h2 strong { color: var(--good); }
.fail h2 strong { color: var(--bad); }
.verdict ul { margin: 6px 0 0; padding-left: 20px; max-width: 90ch; }

.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--s2); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 12px; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; background: var(--soft); font-size: 0.85rem; color: var(--muted); white-space: nowrap; }
tbody th { font-weight: 600; min-width: 120px; overflow-wrap: anywhere; }
tbody th small, td small { display: block; color: var(--muted); font-weight: 400; font-size: 0.8rem; }
thead th:first-child, tbody th { position: sticky; left: 0; background: var(--paper); }
thead th:first-child { background: var(--soft); }
td { white-space: nowrap; }
.compact { font-size: 0.9rem; }
.compact th, .compact td { padding: 4px 12px; }
.compact tbody th { min-width: 130px; font-weight: 400; color: var(--muted); }
.compact small { display: inline; margin-left: 0.4em; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 180px; }
.best { font-weight: 700; }
.best::after { content: "best"; margin-left: 6px; padding: 1px 6px; border-radius: 9px; font-size: 0.72rem;
  font-weight: 600; color: var(--good); background: var(--good-paper); }
tr.differs td { background: var(--warn-paper); }
.dot { display: inline-block; width: 0.7em; height: 0.7em; margin-right: 0.45em; border-radius: 50%; }

.prompt { margin: 10px 0; border: 1px solid var(--line); border-radius: 12px; }
.prompt > summary { padding: 11px 16px; font-weight: 600; cursor: pointer; overflow-wrap: anywhere;
  white-space: pre-line; }
.prompt > summary .number { color: var(--muted); font-weight: 400; margin-right: 0.5em; }
.prompt[open] > summary { border-bottom: 1px solid var(--line); }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(250px, 100%), 1fr)); gap: 1px;
  overflow: hidden; }
.answer { padding: 12px 16px; min-width: 0; box-shadow: 0 0 0 1px var(--line); }
.answer h4 { margin: 0 0 4px; font-size: 0.88rem; color: var(--muted); overflow-wrap: anywhere; }
.text { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; }
.text.none { color: var(--muted); font-style: italic; }
.about { margin: 6px 0 0; font-size: 0.8rem; color: var(--muted); }
.mark { display: inline-block; margin: 0 4px 0 0; padding: 0 7px; border-radius: 9px; font-weight: 600;
  color: var(--warn); background: var(--warn-paper); }
.prompt details { padding: 8px 16px 12px; border-top: 1px solid var(--line); font-size: 0.95em; }
.answer details { padding: 8px 0 0; border: 0; }
.prompt details summary { cursor: pointer; color: var(--muted); font-size: 0.85rem; }

.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 20px;
  align-items: start; }
figure { margin: 0; padding: 14px; border: 1px solid var(--line); border-radius: 12px; max-width: 600px; min-width: 0; }
figcaption { margin-bottom: 8px; font-weight: 600; font-size: 0.95rem; }
figure svg { display: block; width: 100%; height: auto; }
dt { margin-top: 10px; font-weight: 600; }
dd { margin: 0; color: var(--muted); }
li { margin: 4px 0; overflow-wrap: anywhere; }
footer { margin-top: 56px; padding-top: 14px; padding-bottom: 34px; border-top: 1px solid var(--line); }
@media (max-width: 560px) {
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  th, td { padding: 7px 9px; }
  tbody th { min-width: 96px; }
  figure { padding: 10px; }
}
@media print {
  body { font-size: 10.5pt; }
  main, header, footer { max-width: none; padding: 0; }
  h2, h3, summary { break-after: avoid; }
  .answer, figure, tr, .verdict { break-inside: avoid; }
  .scroll { overflow: visible; border: 0; }
  table { font-size: 0.8em; }
  th, td, thead th { padding: 4px 6px; white-space: normal; }
  details::details-content { content-visibility: visible; block-size: auto; opacity: 1; }
}
"""
)

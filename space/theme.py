"""How the page looks and how its events are wired: one theme, light and dark, nothing fetched from elsewhere."""

from pathlib import Path
from typing import Any

from gradio.themes import Base, Color

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
"""Options of every event: no spinner over what is being read, no entry in the API docs, no preprocessing of values.

With preprocessing, Gradio refuses a name that is not among the choices that it remembers for a page, so a page that
outlives a restart of this app would be refused for ever, its banner and its refresh included. Handlers look names up,
and clamp numbers, themselves.
"""

CURTAIN = Color(
    name="curtain",
    c50="#fdf3f4",
    c100="#fbe4e7",
    c200="#f6c9d0",
    c300="#eea0ac",
    c400="#e06b7e",
    c500="#c93b55",
    c600="#b02a45",
    c700="#92203a",
    c800="#741c31",
    c900="#5a1829",
    c950="#340b15",
)
SANS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

PAPER, INK = "#faf8f5", "#151214"
"""Background in the light and in the dark theme."""

OPENING = f"""
html {{ background: {PAPER}; }}
html:has(body.dark) {{ background: {INK}; }}
#opening {{ position: absolute; inset: 0 0 auto; max-width: 1180px; margin: 0 auto; padding: 22px 32px; color: #292524;
  box-sizing: border-box; font: 16px/1.5 {", ".join(f"'{name}'" if " " in name else name for name in SANS)}; }}
#opening .masthead {{ display: flex; gap: 14px; align-items: center; }}
#opening svg {{ width: 44px; height: 44px; flex: none; fill: {CURTAIN.c600}; }}
#opening circle {{ fill: #e8a33d; }}
#opening h1 {{ margin: 0; font-size: 1.5rem; line-height: 1.15; letter-spacing: -0.02em; }}
#opening p {{ margin: 2px 0 0; color: #57534e; }}
@media (max-width: 700px) {{ #opening {{ padding: 10px 12px; }} #opening .masthead {{ align-items: flex-start; }}
  #opening svg {{ width: 34px; height: 34px; }} #opening h1 {{ font-size: 1.25rem; }}
  #opening p {{ font-size: 0.86rem; }} }}
@media (prefers-color-scheme: dark) {{
  html:not(:has(.gradio-container)) {{ background: {INK}; }}
  #opening {{ color: #f5f5f4; }}
  #opening p {{ color: #a8a29e; }}
}}
body:has(#masthead .masthead) #opening {{ display: none; }}
"""
"""Style of the masthead that shows until Gradio's scripts have built the page; it stands where theirs will."""

HEAD = (
    f"<style>{OPENING}</style>"
    '<meta http-equiv="Content-Security-Policy" content="'
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; "
    "frame-src 'none'; object-src 'none'"
    '">'
    "<script>new MutationObserver(() => document.querySelectorAll('.examples[role=list]').forEach("
    "one => one.setAttribute('role', 'group'))).observe(document.body, {childList: true, subtree: true})</script>"
)
"""Colours the page beyond its end, forbids images of other hosts in an answer's Markdown, and turns the suggestions of
Gradio's chatbot (buttons in a list without items) into a group for screen readers."""

MASTHEAD = """
<div class="masthead">
  <svg viewBox="0 0 48 48" aria-hidden="true"><path d="M4 6h40v5H4z"/><path d="M6 13h11c0 12-3 20-11 28z"/>
  <path d="M42 13H31c0 12 3 20 11 28z"/><circle cx="24" cy="34" r="5"/></svg>
  <div><h1>Understudy</h1><p>${value}</p></div>
</div>
"""


def theme() -> Base:
    """Returns the theme: curtain red on paper or on ink, system fonts only."""
    look = Base(
        primary_hue=CURTAIN,
        secondary_hue=CURTAIN,
        neutral_hue="stone",
        radius_size="lg",
        font=SANS,
        font_mono=MONO,
    )
    return look.set(
        body_background_fill=PAPER,
        body_background_fill_dark=INK,
        block_background_fill="#ffffff",
        block_background_fill_dark="#1e1a1d",
        block_border_color="#e9e2dc",
        block_border_color_dark="#352e33",
        block_shadow="none",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        button_secondary_background_fill="#f1ebe6",
        button_secondary_background_fill_hover="#e7ded7",
        button_secondary_background_fill_dark="#2c262a",
        button_secondary_background_fill_hover_dark="#3a3238",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_500",
        color_accent_soft="#fdf3f4",
        color_accent_soft_dark="#3a1a22",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        input_background_fill="#ffffff",
        input_background_fill_dark="#252024",
    )


def css() -> str:
    """Returns the style sheet, which lies beside this file."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")

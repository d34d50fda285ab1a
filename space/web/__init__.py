"""The page that runs personas in a browser: static files, copied by `understudy export --to web`."""

from pathlib import Path

TEMPLATES = Path(__file__).parent
ISOLATION = {
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "cross-origin",
}
"""Headers that let the page use several threads."""

"""The page that runs personas in a browser: static files, copied by `understudy export --to web`."""

from pathlib import Path

TEMPLATES = Path(__file__).parent

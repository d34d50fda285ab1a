"""How every event of the page is wired."""

from typing import Any

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
"""No spinner over what is being read, no entry in the API docs, and values as the browser sent them.

The last because Gradio would refuse a name that is not among the choices it remembers for a page: a page that
outlives a restart of this app would be refused for ever, its banner and its refresh included. Handlers look
names up, and clamp numbers, themselves.
"""

"""The base as training sees it: loaded, prepared, its tokens."""

"""examples -> adapter: preflight, training, the tiny base."""

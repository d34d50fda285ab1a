"""examples -> adapter: preflight, training, the embedded base."""

"""examples -> adapter: preflight, training, the making of the tests' base."""

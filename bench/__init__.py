"""Commands that print every figure we claim: `python -m bench.NAME`."""

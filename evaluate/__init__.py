"""adapter -> evidence: what an adapter says beside its base and its rivals, measured and judged."""

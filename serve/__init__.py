"""adapter -> live endpoint: the engine, the gateway in front of it, and publishing without a pause."""

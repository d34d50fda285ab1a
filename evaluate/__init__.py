"""The proof pack: what is measured of an adapter's answers, and whether that will do."""

"""Programs that make shipped files; not installed."""

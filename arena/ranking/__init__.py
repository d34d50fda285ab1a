"""From votes to places: win rates that may be watched, scores with intervals, promotion."""

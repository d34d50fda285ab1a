"""Statistics of answers and votes: intervals, sequential tests, checks of single texts."""

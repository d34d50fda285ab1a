"""The servers and ways that others use, started and asked as ours are, for measuring side by side."""

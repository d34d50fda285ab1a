"""Votes: cast, kept, counted, exported, read from files."""

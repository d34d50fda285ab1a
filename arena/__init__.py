"""Blind comparison: battles, votes and what they say. Pure: no web, no torch."""

"""Putting the Space on the Hub, and keeping its votes there."""

"""Understudy: teach one model a new voice from a few examples, push it, and it is live."""

__version__ = "0.2.0"

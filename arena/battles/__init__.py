"""Battles: which two meet, what keeps them blind, what is kept of them."""

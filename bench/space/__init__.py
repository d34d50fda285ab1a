"""Benchmarks of space."""

"""Benchmarks of arena."""

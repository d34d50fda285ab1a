"""Rows of training data: read, recognised, checked, split."""

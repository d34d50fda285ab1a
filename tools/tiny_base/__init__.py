"""The tiny base: a small language model trained from text that this package generates."""

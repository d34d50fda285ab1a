"""Documents that compare contestants side by side, with figures and intervals."""

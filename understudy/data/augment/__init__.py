"""More training rows from given ones."""

"""Makes the rows that recipes ship."""

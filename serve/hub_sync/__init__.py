"""Following adapter repositories on the Hub, and loading them on demand."""

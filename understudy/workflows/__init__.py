"""What a command does: each workflow takes settings and callbacks, returns records, and prints nothing."""

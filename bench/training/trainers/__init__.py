"""Trainers side by side: what each is told, the environment of the one that is not ours, and who judges them."""

"""How training refuses: one line, what was wrong and what to do."""

from understudy.errors import TrainingError


def refuse(problem: str, remedy: str) -> TrainingError:
    """The error to raise for `problem`."""
    return TrainingError(f"{problem}; {remedy}")

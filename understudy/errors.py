"""What can go wrong. Each message says what was wrong, what was found and what to do, in one line."""


class UnderstudyError(Exception):
    """Root of every error that is the user's to fix; the command line prints it without a traceback."""


class RecipeError(UnderstudyError, ValueError):
    """A recipe is missing, or its recipe.yaml says something we cannot follow."""


class ExamplesError(UnderstudyError, ValueError):
    """An examples file is empty or malformed; the message names file and line."""


class BaseModelError(UnderstudyError, ValueError):
    """A base model cannot be found or does not fit what is asked of it."""


class AdapterError(UnderstudyError, ValueError):
    """An adapter folder is not one that we can store, validate or serve."""


class TrainingError(UnderstudyError, RuntimeError):
    """A training run was refused before it started, or cannot go on."""


class NotFoundError(UnderstudyError, LookupError):
    """A persona, revision or recipe of that name does not exist; the message lists those that do."""


class PublishError(UnderstudyError, RuntimeError):
    """A revision was refused by validation or by the probe; the incumbent is untouched."""

    def __init__(self, message: str, reasons: list[str] | None = None) -> None:
        super().__init__(message)
        self.reasons = reasons or []


class EngineError(UnderstudyError, RuntimeError):
    """The engine did not start, died, or answered something that we cannot use."""


class GatewayError(UnderstudyError, ConnectionError):
    """The gateway cannot be reached, or refused an admin call."""


class PromptsDifferError(UnderstudyError, ValueError):
    """Training and serving write one chat in different tokens."""


class PortError(UnderstudyError, OSError):
    """A port is taken; the message says which one and which option changes it."""


class DatabaseError(UnderstudyError, RuntimeError):
    """The database cannot be opened or migrated."""


class CodeEvalError(UnderstudyError, ValueError):
    """Problems or samples of a code evaluation cannot be read; the message names file and line."""

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


class HubError(AdapterError):
    """The Hub does not give us an adapter: it is not there, closed to us, too large, or the Hub is in trouble."""

    def __init__(
        self, message: str, kind: str = "unreachable", *, passing: bool = False, retry_after: float = 0.0
    ) -> None:
        """`kind` is one word for the cause; `passing` means that it may be over by itself, and `retry_after` seconds
        that the Hub wants us to wait at least."""
        super().__init__(message)
        self.kind, self.passing, self.retry_after = kind, passing, retry_after


class FollowError(UnderstudyError, ValueError):
    """The file that says which repositories are followed cannot be read; what was followed before still is."""


class TrainingError(UnderstudyError, RuntimeError):
    """A training run was refused before it started, or cannot go on."""


class JobError(UnderstudyError, RuntimeError):
    """A job for somebody else's machine cannot be written, was refused, or failed there."""


class NotFoundError(UnderstudyError, LookupError):
    """A persona, revision or recipe of that name does not exist; the message lists those that do."""


class PublishError(UnderstudyError, RuntimeError):
    """A revision was refused by validation or by the probe; the incumbent is untouched."""

    def __init__(self, message: str, reasons: list[str] | None = None) -> None:
        super().__init__(message)
        self.reasons = reasons or []


class EngineError(UnderstudyError, RuntimeError):
    """The engine did not start, died, or answered something that we cannot use."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        """`passing` means that asking again may help: it broke off, or said that the fault was its own."""
        super().__init__(message)
        self.passing = passing


class GatewayError(UnderstudyError, ConnectionError):
    """The gateway cannot be reached, or refused an admin call."""


class PromptsDifferError(UnderstudyError, ValueError):
    """Training and serving write one chat in different tokens."""


class PortError(UnderstudyError, OSError):
    """A port is taken; the message says which one and which option changes it."""


class DatabaseError(UnderstudyError, RuntimeError):
    """The database cannot be opened or migrated."""


class JudgeError(UnderstudyError, RuntimeError):
    """A judge model's endpoint does not answer; what it has said so far is kept."""


class CodeEvalError(UnderstudyError, ValueError):
    """Problems or samples of a code evaluation cannot be read; the message names file and line."""


class VotesRepoError(UnderstudyError, ConnectionError):
    """A data set repository for votes is misnamed, closed to us, or cannot be reached."""


class DeployError(UnderstudyError, RuntimeError):
    """A Space cannot be made or updated as asked."""

"""The errors that a user can fix. Each message says what was wrong, what was found and what to do, in one line."""


class UnderstudyError(Exception):
    """Root of every error that is the user's to fix; the command line prints it without a traceback."""

    code: str = ""
    """One word for the cause, for callers that choose a text or a remedy by it; empty where nobody needs to."""

    def __init__(self, message: str = "", *, code: str = "") -> None:
        super().__init__(message)
        self.code = code or self.code


class ConfigError(UnderstudyError, ValueError):
    """A recipe, a setting, an option, a configuration file or an address says something that cannot be used."""


class ExamplesError(UnderstudyError, ValueError):
    """A data file (rows, votes, problems, a run's records) is missing, empty or malformed; names file and line."""


class BaseModelError(UnderstudyError, ValueError):
    """A base model cannot be found or does not fit what is asked of it."""

    def __init__(self, message: str = "", *, code: str = "", reason: str = "") -> None:
        """`reason` is the cause alone: the message without the base's name and without what to do instead."""
        super().__init__(message, code=code)
        self.reason = reason or message


class AdapterError(UnderstudyError, ValueError):
    """An adapter folder cannot be stored, validated or served."""


class HubError(AdapterError):
    """The Hub refuses or fails: what was asked for is missing, closed to us or too large, or the Hub is in trouble."""

    def __init__(
        self, message: str, code: str = "unreachable", *, passing: bool = False, retry_after: float = 0.0
    ) -> None:
        """`code` is one of `understudy.hub_errors`' kinds or the caller's own; `passing` means that it may be over by
        itself, and `retry_after` is the least number of seconds that the Hub wants us to wait."""
        super().__init__(message, code=code)
        self.passing, self.retry_after = passing, retry_after


class TrainingError(UnderstudyError, RuntimeError):
    """A training run was refused before it started, or failed."""


class JobError(UnderstudyError, RuntimeError):
    """A job cannot be sent to the Hub's machines, is not taken there, or failed."""


class NotFoundError(UnderstudyError, LookupError):
    """A persona, revision or recipe of that name does not exist; the message lists those that do."""


class PublishError(UnderstudyError, RuntimeError):
    """A revision was refused by validation or by the probe; the live revision is untouched."""

    def __init__(self, message: str, reasons: list[str] | None = None) -> None:
        super().__init__(message)
        self.reasons = reasons or []


class EngineError(UnderstudyError, RuntimeError):
    """The engine did not start, died, or answered something that we cannot use."""

    def __init__(self, message: str, *, code: str = "", passing: bool = False) -> None:
        """`passing` means that asking again may help: the answer broke off, or the engine reports its own fault."""
        super().__init__(message, code=code)
        self.passing = passing


class GatewayError(UnderstudyError, ConnectionError):
    """The gateway, or a judge's endpoint, cannot be reached, or refuses the call."""


class MeasurementError(UnderstudyError, ValueError):
    """There is nothing to measure, or it cannot be measured in the way that was asked for."""


class DeployError(UnderstudyError, RuntimeError):
    """A Space cannot be made or updated as asked."""

"""Logs: one JSON object per line (or a line of text), each with its request's id, none with a secret.

Prompts, answers, keys and addresses are never logged. The formatters are a second safeguard: they replace
whatever looks like a secret by `[secret]`, anywhere in a record, exception texts included.
"""

import contextlib
import logging
import re
import secrets
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from understudy.data.secrets import replace_secrets
from understudy.terminal import one_line, printable

log = logging.getLogger("understudy.access")

Outcome: TypeAlias = Literal["ok", "client_gone", "engine_down", "refused"]

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that this task serves; empty outside of requests."""

CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Request ids that a client may choose."""

SECRET = re.compile(
    r"us-[0-9a-f]{8}-[A-Za-z0-9_-]{16,}"  # our keys, cut ones too
    r"|(?i:\bbearer)\s+[^\s\"',;]+"
    r"|(?<![A-Za-z0-9])hf_[A-Za-z0-9]{8,}"
    r"|(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{8,}"
)
REPLACEMENT = "[secret]"
SHORTEST_KEY = 15
"""Characters of the shortest key of another service; shorter texts, most of a record, are not searched for those."""

HANDLER = "understudy"
"""Name of our handler at the root logger; a second `configure_logs` replaces it."""

RESERVED = frozenset(RESERVED_ATTRS) | {"color_message"}


def configure_logs(json: bool, level: str = "INFO") -> None:
    """Sends every record of this process to stderr: ours from `level`, those of libraries from WARNING.

    `json` gives one JSON object a line: time (UTC), level, logger, message, request_id, and the record's extras.
    uvicorn brings handlers of its own; run it with `log_config=None`.
    """
    handler = Stderr()
    handler.set_name(HANDLER)
    handler.addFilter(_add_request_id)
    handler.setFormatter(JsonLines() if json else TextLines())
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("understudy").setLevel(level)
    logging.captureWarnings(True)


def new_request_id(header: str | None) -> str:
    """The client's `x-request-id` if it is 1-64 of A-Z a-z 0-9 . _ - and not a secret; else a new one."""
    if header and CLIENT_ID.fullmatch(header) and not SECRET.search(header):
        return header
    return f"req-{secrets.token_hex(8)}"


def access_record(
    *,
    route: str,
    status: int,
    outcome: Outcome,
    seconds: float,
    caller: str = "",
    persona: str = "",
    revision: str = "",
    first_token_seconds: float | None = None,
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
    streamed: bool = False,
) -> None:
    """Writes the one record of a finished request.

    `route` is the route's pattern, `caller` a key's public id, `persona` a name from the registry: nothing that a
    client can fill with text of its own. Token counts are None where the engine did not report them.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    fields = {
        "caller": caller,
        "persona": persona,
        "revision": revision,
        "route": route,
        "status": status,
        "outcome": outcome,
        "seconds": round(seconds, 6),
        "first_token_seconds": None if first_token_seconds is None else round(first_token_seconds, 6),
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "streamed": streamed,
    }
    log.info("%s %d %s", route, status, outcome, extra=fields)


def redact(value: Any) -> Any:
    """Returns the value in JSON's types, with `[secret]` for whatever looks like one."""
    if isinstance(value, str):
        text = SECRET.sub(REPLACEMENT, value)
        return replace_secrets(text, REPLACEMENT) if len(text) >= SHORTEST_KEY else text
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {SECRET.sub(REPLACEMENT, str(key)): redact(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(part) for part in value]
    return redact(str(value))


class Stderr(logging.StreamHandler):
    """Writes to stderr; of a record that cannot be written only the source line, as its content may be secret."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        broken = f"a record of {Path(record.pathname).name}:{record.lineno} could not be written"
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(self.format(logging.makeLogRecord({"name": HANDLER, "msg": broken})) + "\n")


class JsonLines(JsonFormatter):
    """A record as one JSON object on one line."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        super().__init__(["levelname", "name", "message"], rename_fields=names, reserved_attrs=sorted(RESERVED))

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data["time"] = _utc(record)
        super().add_fields(log_data, record, message_dict)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return redact(log_data)


class TextLines(logging.Formatter):
    """A record as a line for people: time, level, logger, message, then the extras."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name is logging's)
        extras = {k: v for k, v in record.__dict__.items() if k not in RESERVED and v not in ("", None)}
        shown = "".join(f" {key}={one_line(redact(str(value)))}" for key, value in extras.items())
        return f"{_utc(record)} {record.levelname} {record.name}: {one_line(redact(record.message))}{shown}"

    def format(self, record: logging.LogRecord) -> str:
        return printable(redact(super().format(record)))


def _utc(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _add_request_id(record: logging.LogRecord) -> bool:
    if REQUEST_ID.get() and not hasattr(record, "request_id"):
        record.request_id = REQUEST_ID.get()
    return True

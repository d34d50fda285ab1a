"""Values of a row: which say that there is nothing, and which are text where text is needed."""

from understudy.data.records import ProblemKind, RowError, shown

PLACEHOLDERS = frozenset(
    ["null", "none", "nan", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "<n/a>", "<null>", "<none>", "noinput"]
) | {"<noinput>", "no input", "<no input>"}
"""Words (in any case) that programs write where there is nothing; as a whole text they count as a null."""


def is_null(value: object) -> bool:
    """Whether a value says that there is none: None, NaN, or a placeholder such as "null" or "N/A"."""
    if isinstance(value, str):
        return value.strip().casefold() in PLACEHOLDERS
    return value is None or (isinstance(value, float) and value != value)


def is_nothing(value: object) -> bool:
    """Whether a value is null, blank, or an empty list or object."""
    return is_null(value) or (isinstance(value, str) and not value.strip()) or value in ([], {}, ())


def required_text(value: object, at: str, if_blank: ProblemKind) -> str:
    """The value, which must be text that is not blank. Raises RowError, of the kind `if_blank` for blank text."""
    kind: ProblemKind = "null" if is_null(value) else "wrong_type" if not isinstance(value, str) else if_blank
    if isinstance(value, str) and value.strip() and kind != "null":
        return value
    raise RowError(kind, f"{shown(at)} must be text that is not empty, found {found_there(value)}")


def optional_text(value: object, at: str) -> str:
    """The value, which must be text or null; null and blank become the empty text. Raises RowError."""
    if is_null(value):
        return ""
    if not isinstance(value, str):
        raise RowError("wrong_type", f"{shown(at)} must be text or nothing, found {found_there(value)}")
    return value if value.strip() else ""


def found_there(value: object) -> str:
    """What a value is, in words that give nothing of a longer text away."""
    if isinstance(value, str) and value.strip():
        return f"the placeholder {shown(value.strip())!r}" if is_null(value) else "text"
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)[:30]
    names = {list: "a list", tuple: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)

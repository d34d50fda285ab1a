"""Columns that no schema reads although they mean something: such a row is refused by name, never trained without."""

import re
from collections.abc import Mapping
from functools import lru_cache

from understudy.data.forms.schemas import Schema
from understudy.data.forms.values import found_there, is_nothing
from understudy.data.records import RowError, shown

MEDIA = frozenset(
    name for one in ("image", "video", "audio") for name in (one, f"{one}s", f"{one}_path", f"{one}_url", f"{one}_urls")
) | {"pixel_values", "image_paths", "files"}

SEVERAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
"""Where a word of a column's name ends: `chatHistory`, `Chat History`, `chat-history`."""

MEDIA_MARK = re.compile(r"^\s*<(?:image|video|audio)>\s*$|^\s*<(?:image|video|audio)>(?=\s)", re.MULTILINE)
"""Where a picture stands in the text of LLaVA's and LLaMA-Factory's rows."""

OF_THE_CONVERSATION = (
    frozenset(["system", "system_prompt", "history", "tools", "messages", "conversations", "conversation", "dialog"])
    | {"dialogue", "turns", "prompt", "completion", "instruction", "instructions", "input", "context", "contexts"}
    | {"output", "response", "question", "answer", "query", "passage", "passages", "document", "documents", "evidence"}
    | {"paragraph", "choices", "options", "chosen", "rejected", "rejected_response", "functions", "function_call"}
    | {"premise", "background", "knowledge", "story", "article", "excerpt"}
    | {f"{kind}_{what}" for kind in ("chat", "conversation", "dialog", "dialogue", "message") for what in ("history",)}
    | {f"{kind}_{what}" for kind in ("previous", "prior", "past", "earlier") for what in ("turns", "messages")}
    | {f"system_{what}" for what in ("message", "msg", "instruction", "instructions", "content", "text")}
)
"""Names that say what is asked or answered, as `plain_name` writes them."""

JUDGEMENTS = (
    frozenset(["label", "kto_tag", "preferred", "is_preferred", "accepted", "is_accepted", "chosen", "is_chosen"])
    | {"is_correct", "liked", "desirable", "thumbs", "thumbs_up", "thumb", "feedback", "vote", "good", "is_good"}
    | {"approved", "is_approved", "is_helpful", "is_safe", "is_response_safe", "acceptable", "is_acceptable"}
)
"""Names under which people keep whether they wanted an answer."""

UNWANTED = frozenset(
    [
        "false",
        "no",
        "0",
        "-1",
        "bad",
        "down",
        "negative",
        "dislike",
        "disliked",
        "thumbs_down",
        "rejected",
        "undesirable",
    ]
)


@lru_cache(maxsize=4096)
def plain_name(column: str) -> str:
    """The words of a column's name, in small letters, joined by underscores."""
    return "_".join(word.lower() for word in SEVERAL.split(column) if word)


def require_wanted(row: Mapping[str, object], schema: Schema) -> None:
    """Refuse an answer that the row itself says people did not want.

    Raises:
        RowError: naming the column.
    """
    for name in _named(JUDGEMENTS, row, schema):
        flag = row[name]
        if isinstance(flag, bool | int | float | str) and _is_no(flag):
            raise RowError(
                "unwanted",
                f"{shown(name)} is {shown(flag)[:30]}: people did not want this answer; remove the row, or train with "
                "`--method kto --preferences FILE`",
            )


def require_text_only(row: Mapping[str, object], texts: list[str]) -> None:
    """Refuse rows whose question is about a picture, a film or a sound. Raises RowError."""
    media = sorted(name for name in row if plain_name(name) in MEDIA)
    for name in media:
        if not is_nothing(row[name]):
            text = f"{shown(name)}: found {found_there(row[name])}; a model learns from text only, remove the row"
            raise RowError("not_text", text)
    if media and any(MEDIA_MARK.search(text) for text in texts):
        raise RowError("not_text", "the text has a place for an image, a video or audio; remove the row, or the mark")


def require_all_used(row: Mapping[str, object], schema: Schema, texts: list[str]) -> None:
    """Refuse a row with a column of the conversation that its schema does not read and its messages do not repeat.

    Where a person said which column is which, the others are left out on purpose.

    Raises:
        RowError: naming the column.
    """
    if schema.given:
        return
    whole = "\n".join(texts)
    for name in _named(OF_THE_CONVERSATION, row, schema):
        value = row[name]
        if is_nothing(value) or (isinstance(value, str) and value.strip() in whole) or isinstance(value, bool):
            continue
        read = ", ".join(sorted(schema.required))
        raise RowError(
            "unused_column",
            f"{shown(name)} belongs to the conversation and would be lost, for {read} are read; "
            "remove it, or say with --columns (`data.columns` in a recipe) which columns are meant",
        )


def _named(names: frozenset[str], row: Mapping[str, object], schema: Schema) -> list[str]:
    """The columns with one of these names that the schema does not read, sorted."""
    return sorted(name for name in row if plain_name(name) in names and name not in schema.columns)


def _is_no(flag: bool | float | str) -> bool:
    """Whether a judgement says no; programs that keep a flag beside empty cells write it as 0.0."""
    return re.sub(r"\.0+$", "", str(flag).strip()).casefold() in UNWANTED

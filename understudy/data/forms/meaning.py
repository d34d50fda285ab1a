"""Columns that no schema reads although they mean something: such a row is refused by name, never trained without."""

import re
from collections.abc import Mapping

from understudy.data.forms.schemas import Schema
from understudy.data.forms.values import found_there, is_nothing
from understudy.data.records import RowError, shown

MEDIA = frozenset(
    name for one in ("image", "video", "audio") for name in (one, f"{one}s", f"{one}_path", f"{one}_url", f"{one}_urls")
) | {"pixel_values", "image_paths", "files"}

MEDIA_MARK = re.compile(r"^\s*<(?:image|video|audio)>\s*$|^\s*<(?:image|video|audio)>(?=\s)", re.MULTILINE)
"""Where a picture stands in the text of LLaVA's and LLaMA-Factory's rows."""

OF_THE_CONVERSATION = (
    frozenset(["system", "system_prompt", "history", "tools", "messages", "conversations", "conversation", "dialog"])
    | {"dialogue", "turns", "prompt", "completion", "instruction", "instructions", "input", "context", "contexts"}
    | {"output", "response", "question", "answer", "query", "passage", "passages", "document", "documents", "evidence"}
    | {"paragraph", "choices", "options", "chosen", "rejected", "rejected_response"}
)
"""Names that say what is asked or answered."""

JUDGEMENTS = frozenset(
    ["label", "kto_tag", "preferred", "is_preferred", "accepted", "is_accepted", "chosen", "is_chosen"]
) | {"is_correct", "liked", "desirable", "thumbs", "thumbs_up", "thumb", "feedback", "vote"}
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


def require_wanted(row: Mapping[str, object], schema: Schema) -> None:
    """Refuse an answer that the row itself says people did not want.

    Raises:
        RowError: naming the column.
    """
    for name in JUDGEMENTS & row.keys() - set(schema.columns):
        value = row[name]
        flag = value if isinstance(value, bool | int | str) else None
        if flag is not None and str(flag).strip().casefold() in UNWANTED:
            raise RowError(
                "unwanted",
                f"{name} is {shown(flag)[:30]}: people did not want this answer; remove the row, or train with "
                "`--method kto --preferences FILE`",
            )


def require_text_only(row: Mapping[str, object], texts: list[str]) -> None:
    """Refuse rows whose question is about a picture, a film or a sound. Raises RowError."""
    for name in sorted(MEDIA & row.keys()):
        if not is_nothing(row[name]):
            text = f"{name}: found {found_there(row[name])}; a model learns from text only, remove the row"
            raise RowError("not_text", text)
    if MEDIA & row.keys() and any(MEDIA_MARK.search(text) for text in texts):
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
    for name in sorted(OF_THE_CONVERSATION & row.keys() - set(schema.columns)):
        value = row[name]
        if is_nothing(value) or (isinstance(value, str) and value.strip() in whole) or isinstance(value, bool):
            continue
        read = ", ".join(sorted(schema.required))
        raise RowError(
            "unused_column",
            f"{name} belongs to the conversation and would be lost, for {read} are read; "
            "remove it, or say with --columns (`data.columns` in a recipe) which columns are meant",
        )

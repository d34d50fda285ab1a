"""Logs of other arenas as plain rows of votes: FastChat's conversation log, and Open WebUI's export of feedback.

FastChat writes a line for everything that happens; the votes among them are `leftvote`, `rightvote`, `tievote` and
`bothbad_vote`, and a battle is blind when its page showed no names (fastchat/serve/monitor/clean_battle_data.py).
Open WebUI rates one answer up or down; its own leaderboard takes that as a win or a loss against each model that
answered the same prompt, and so do we.
"""

import re
from collections.abc import Iterator
from itertools import chain

from understudy.data.records import DataRecord
from understudy.errors import ExamplesError

FASTCHAT_VERDICTS = {"leftvote": "left", "rightvote": "right", "tievote": "tie", "bothbad_vote": "both_bad"}
NO_VERDICT = "no_verdict"
"""The column that says why a row is no vote."""
UNSIDED = "unsided"
"""The column that says that the first contestant was on no side of a screen."""
SHOWN_NAME = re.compile(r"(?:<h3>|### )?Model [AB]: (.*?)(?:</h3>)?\s*", re.DOTALL)
"""How FastChat's page shows a name."""
THUMBS = {"1": "left", "-1": "right"}


def plain_rows(records: Iterator[DataRecord]) -> Iterator[DataRecord]:
    """The rows as they are, or as plain votes when the first one is of a log that we know.

    Raises:
        ExamplesError: a row of such a log lacks what its kind has.
    """
    first = next(records, None)
    if first is None:
        return
    records = chain([first], records)
    if _is_fastchat(first.row):
        for record in records:
            yield DataRecord(record.origin, _fastchat(record))
    elif _is_feedback(first.row):
        for record in records:
            for row in _open_webui(record):
                yield DataRecord(record.origin, row)
    else:
        yield from records


def is_log(row: dict) -> bool:
    """Whether `plain_rows` makes other rows of a file with this first one."""
    return _is_fastchat(row) or _is_feedback(row)


def _is_fastchat(row: dict) -> bool:
    return {"type", "models", "states"} <= row.keys()


def _fastchat(record: DataRecord) -> dict[str, object]:
    row, kind = record.row, str(record.row.get("type"))
    verdict = FASTCHAT_VERDICTS.get(kind)
    if verdict is None:
        return _no_vote(f"no vote but {kind}" if kind.isidentifier() else "no vote")
    states = row.get("states")
    if not isinstance(states, list) or len(states) != 2 or not all(isinstance(one, dict) for one in states):
        raise ExamplesError(f"{record.origin}: {kind} without the two states of its battle; remove the row")
    models = row.get("models")
    seen = [_name(one) for one in models] if isinstance(models, list) and len(models) == 2 else ["", ""]
    hidden = [str(one.get("model_name") or "").strip() for one in states]
    blind = "" in seen
    if not blind and all(hidden) and seen != hidden:
        return _no_vote("the names shown are not those of the models")
    left, right = hidden if all(hidden) else seen
    if not left or not right:
        raise ExamplesError(f"{record.origin}: {kind} names no models in states; remove the row")
    texts = [_said(one) for one in states]
    return {
        "left": left,
        "right": right,
        "winner": verdict,
        "anony": blind,
        "voter": row.get("ip"),
        "order": row.get("tstamp"),
        "left_text": texts[0],
        "right_text": texts[1],
    }


def _name(shown_name: object) -> str:
    text = shown_name.strip() if isinstance(shown_name, str) else ""
    found = SHOWN_NAME.fullmatch(text)
    return found[1].strip() if found else text


def _said(state: dict) -> object:
    """The conversation of a FastChat state: pairs of role and text, by turns the user's and the model's."""
    messages = state.get("messages")
    if not isinstance(messages, list):
        return None
    offset = state.get("offset")
    turns = messages[offset if isinstance(offset, int) else 0 :]
    return [one[1] for one in turns[1::2] if isinstance(one, list) and len(one) == 2] or None


def _is_feedback(row: dict) -> bool:
    data = row.get("data")
    return isinstance(data, dict) and "rating" in data and "model_id" in data


def _open_webui(record: DataRecord) -> Iterator[dict[str, object]]:
    data = record.row.get("data")
    if not isinstance(data, dict):
        yield _no_vote("no rating")
        return
    verdict = THUMBS.get(str(data.get("rating")).removesuffix(".0"))
    if verdict is None:
        yield _no_vote("no thumb up or down")
        return
    rivals = data.get("sibling_model_ids")
    rivals = [rivals] if isinstance(rivals, str) else rivals or []
    model = data.get("model_id")
    if not isinstance(model, str) or not isinstance(rivals, list):
        raise ExamplesError(f"{record.origin}: data.model_id and data.sibling_model_ids must be names; remove the row")
    if not rivals:
        yield _no_vote("rated alone, without another model's answer")
    for rival in rivals:
        yield {
            "left": model,
            "right": rival,
            "winner": verdict,
            "voter": record.row.get("user_id"),
            "order": record.row.get("created_at", record.row.get("updated_at")),
            UNSIDED: True,
        }


def _no_vote(reason: str) -> dict[str, object]:
    return {"left": None, "right": None, "winner": None, NO_VERDICT: reason}

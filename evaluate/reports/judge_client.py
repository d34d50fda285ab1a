"""Asks a judge model over any OpenAI-compatible endpoint and keeps its replies, so that none is paid for twice."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pydantic import SecretStr

from evaluate.reports.judge import SAME, Choice, JudgedPair, JudgeOpinion, cases, choice, question, with_judge
from evaluate.reports.records import Report
from understudy.errors import GatewayError

if TYPE_CHECKING:
    from openai import OpenAI

KEPT = "judge.jsonl"
"""The judge's replies by SHA-256 of model and question; beside the report."""
AT_ONCE = 4
RETRIES = 3
"""Further attempts at a question that the endpoint did not answer (its limits, its faults, the connection)."""
TIMEOUT = 120.0
"""Seconds for one answer."""
OPENAI = "https://api.openai.com/v1"

Chat = list[dict[str, str]]
OnProgress = Callable[[int, int], None]
"""Called with answers done and answers asked for."""


def _quiet(done: int, total: int) -> None:
    """Reports nothing."""


def judge_report(
    report: Report,
    folder: Path,
    *,
    model: str,
    url: str | None,
    key: SecretStr | None,
    on_progress: OnProgress = _quiet,
) -> Report:
    """Adds the judge's verdicts to a report; replies kept in `folder` are not asked for again.

    Raises:
        GatewayError: the endpoint does not answer; the message says how many answers are kept.
    """
    return with_judge(report, model, opinions(cases(report), folder / KEPT, model, url, key, on_progress))


def opinions(
    pairs_to_judge: Sequence[JudgedPair],
    file: Path,
    model: str,
    url: str | None,
    key: SecretStr | None,
    on_progress: OnProgress = _quiet,
) -> list[JudgeOpinion]:
    """Returns the judge's opinion on each pair, in both orders; replies kept in `file` are not asked for again.

    Raises:
        GatewayError: as `judge_report`.
    """
    pairs = [
        (question(case.prompt, case.mine, case.base), question(case.prompt, case.base, case.mine))
        for case in pairs_to_judge
    ]
    open_ = [pair for case, pair in zip(pairs_to_judge, pairs, strict=True) if case.mine != case.base]
    replies = _ask([chat for pair in open_ for chat in pair], file, model, url or OPENAI, key, on_progress)

    def chosen(chat: Chat) -> Choice | None:
        return choice(replies[_id(model, chat)])

    return [
        SAME if case.mine == case.base else JudgeOpinion(mine_first=chosen(one), base_first=chosen(other))
        for case, (one, other) in zip(pairs_to_judge, pairs, strict=True)
    ]


def _ask(
    chats: Sequence[Chat], file: Path, model: str, url: str, key: SecretStr | None, on_progress: OnProgress
) -> dict[str, str]:
    """Returns all replies by id; each new one is saved when it arrives."""
    from openai import OpenAI, OpenAIError

    replies = _kept(file)
    missing = {id_: chat for chat in chats if (id_ := _id(model, chat)) not in replies}
    if not missing:
        return replies
    secret = key.get_secret_value() if key else "none"
    failed: OpenAIError | None = None
    with (
        OpenAI(base_url=url, api_key=secret, max_retries=RETRIES, timeout=TIMEOUT) as client,
        _opened(file) as kept,
        _asking(client, model, missing) as asked,
    ):
        for done, answer in enumerate(as_completed(asked), 1):
            try:
                replies[asked[answer]] = answer.result()
            except CancelledError:
                continue
            except OpenAIError as error:
                failed = failed or error
                for other in asked:
                    other.cancel()
                continue
            kept.write(json.dumps({"id": asked[answer], "said": replies[asked[answer]]}) + "\n")
            kept.flush()
            on_progress(done, len(missing))
    if failed:
        reason = " ".join(str(failed).split()).replace(secret, "***")[:300]
        got = sum(_id(model, chat) in replies for chat in chats)
        raise GatewayError(
            f"judge {model} at {url}: {reason}; {got} of {len(chats)} answers are kept in {file}: "
            "mend it (--judge-url, UNDERSTUDY_JUDGE_KEY) and run the same again to go on"
        )
    return replies


@contextmanager
def _asking(client: "OpenAI", model: str, chats: dict[str, Chat]) -> Iterator[dict[Future[str], str]]:
    """Asks a few at a time; leaving the context early cancels the rest."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = {pool.submit(_answer, client, model, chat): id_ for id_, chat in chats.items()}
        try:
            yield asked
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _opened(file: Path) -> TextIO:
    """Opens the file for appending, on a new line even if the last one was cut short."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = file.open("a+", encoding="utf-8")
    if file.stat().st_size and not file.read_bytes().endswith(b"\n"):
        kept.write("\n")
    return kept


def _answer(client: "OpenAI", model: str, chat: Chat) -> str:
    """Returns the judge's reply, at temperature 0 if the model accepts one."""
    from openai import BadRequestError

    try:
        made = client.chat.completions.create(model=model, messages=chat, temperature=0)  # pyright: ignore
    except BadRequestError as error:
        if "temperature" not in str(error):
            raise
        made = client.chat.completions.create(model=model, messages=chat)  # pyright: ignore
    return (made.choices[0].message.content or "") if made.choices else ""


def _id(model: str, chat: Chat) -> str:
    return hashlib.sha256(json.dumps([model, chat]).encode()).hexdigest()


def _kept(file: Path) -> dict[str, str]:
    """Reads earlier replies; a line that was cut short is skipped and asked again."""
    replies: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            row = json.loads(line)
            replies[row["id"]] = row["said"]
        except (ValueError, KeyError, TypeError):
            continue
    return replies

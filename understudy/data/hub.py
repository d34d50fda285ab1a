"""Data sets of the Hugging Face Hub: the rows of one split, read through the `datasets` library."""

import re
from collections.abc import Iterator

from understudy.data.records import HUB, DataRecord, shown
from understudy.errors import ExamplesError
from understudy.hub_errors import hub_failure

TIMEOUT = 10.0
"""Seconds that the Hub gets to say whether it has a data set."""

SOURCE = re.compile(rf"{HUB}(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^:@\s]+))?(:(?P<split>[^\s]+))?")


def read_hub(source: str) -> Iterator[DataRecord]:
    """The rows of `hub:ORG/NAME[@REVISION][:SPLIT]`.

    The revision is a branch, a tag or a commit; the default is the newest of main. The split may be left out when
    there is only one, or one that is named train. What is in the local cache can be read without a connection
    when HF_HUB_OFFLINE is set.

    Raises:
        ExamplesError: the name is malformed; `datasets` is not installed; the data set is not there, is closed to us,
            cannot be reached or read; or the split does not exist (those that do are listed).
    """
    parts = SOURCE.fullmatch(source)
    if parts is None:
        raise ExamplesError(
            f"{shown(source)}: write {HUB}ORG/NAME, {HUB}ORG/NAME@REVISION or {HUB}ORG/NAME@REVISION:SPLIT"
        )
    try:
        import datasets
    except ImportError:
        raise ExamplesError(f"{source}: this needs `datasets`; run `pip install 'understudy[train]'`") from None
    repo, revision = parts["repo"], parts["revision"]
    try:
        _require_dataset(repo, revision)
        datasets.disable_progress_bars()
        split = _choose(parts["split"], datasets.get_dataset_split_names(repo, revision=revision), source)
        rows = datasets.load_dataset(repo, split=split, revision=revision)
        for number, row in enumerate(rows, 1):
            yield DataRecord(f"{source} row {number}", dict(row))
    except ExamplesError:
        raise
    except Exception as error:  # the libraries have errors of their own, which change with their versions
        raise ExamplesError(f"{source}: {_reason(error, revision)}") from error


def _require_dataset(repo: str, revision: str | None) -> None:
    """Asks the Hub once: `datasets` itself tries for half a minute before it says that nobody answers."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        HfApi().dataset_info(repo, revision=revision, timeout=TIMEOUT)
    except OfflineModeIsEnabled:
        return


def _choose(wanted: str | None, splits: list[str], source: str) -> str:
    if wanted is None and len(splits) != 1 and "train" not in splits:
        raise ExamplesError(f"{source}: say which split, as in {source}:{splits[0]}; there are {', '.join(splits)}")
    chosen = wanted or ("train" if "train" in splits else splits[0])
    if chosen.partition("[")[0] not in splits:
        raise ExamplesError(f"{source}: no split {chosen!r}; there are {', '.join(splits)}")
    return chosen


def _reason(error: Exception, revision: str | None) -> str:
    """What went wrong and what to do, in one line. `datasets` wraps the Hub's refusals in errors of its own."""
    text = shown(" ".join(str(error).split()) or type(error).__name__)
    failure = hub_failure(error, revision=revision or "")
    if "gated" in text:
        return "it is gated; accept its terms on the Hub and set HF_TOKEN"
    if "Config name is missing" in text:
        return "it has several configurations; download one of them as Parquet or JSONL and give that file"
    if "OfflineMode" in text or failure.kind == "offline":
        return "HF_HUB_OFFLINE is set and it is not in the cache; unset it, or give a file"
    if failure.kind != "unreachable":
        return failure.sentence
    if isinstance(error, ConnectionError) or "httpx" in type(error).__module__:
        return f"{failure.sentence}; try again, or give a file"
    return f"cannot be read as rows ({text[:120]}); download it and give the file"

"""A data set repository of the Hub that battles and votes are sent to and restored from; every file is written once."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from understudy.errors import HubError
from understudy.registry.hub import hub_api, hub_error

NAME = re.compile(r"hub:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)", re.ASCII)
FOLDERS = ("battles/", "votes/", "withdrawals/")

TIMEOUT = 15.0
"""Seconds that the Hub gets for each answer."""

# The types are given because `datasets` guesses them from the first file, where a column may be empty.
CARD = """---
pretty_name: Votes of blind battles
tags:
- understudy
- human-preference
configs:
- config_name: votes
  data_files: votes/**/*.jsonl
- config_name: battles
  data_files: battles/**/*.jsonl
dataset_info:
- config_name: votes
  features:
  - {name: battle, dtype: string}
  - {name: at, dtype: string}
  - {name: session, dtype: string}
  - {name: verdict, dtype: string}
  - name: reasons
    sequence: string
  - {name: suspect, dtype: string}
- config_name: battles
  features:
  - {name: id, dtype: string}
  - {name: at, dtype: string}
  - {name: session, dtype: string}
  - {name: prompt, dtype: string}
  - {name: seed, dtype: int64}
  - name: sampling
    struct:
    - {name: temperature, dtype: float64}
    - {name: max_tokens, dtype: int64}
    - {name: seed, dtype: int64}
  - {name: left, dtype: string}
  - {name: right, dtype: string}
  - {name: left_revision, dtype: string}
  - {name: right_revision, dtype: string}
  - {name: left_text, dtype: string}
  - {name: right_text, dtype: string}
  - {name: status, dtype: string}
  - {name: reason, dtype: string}
  - {name: nonce, dtype: string}
  - {name: origin, dtype: string}
  - {name: replay_of, dtype: string}
  - {name: chance, dtype: float64}
  - {name: category, dtype: string}
  - name: timing
    struct:
    - {name: left_first, dtype: float64}
    - {name: left_total, dtype: float64}
    - {name: right_first, dtype: float64}
    - {name: right_total, dtype: float64}
---

Blind battles between a base model and personas taught from a few examples, and people's votes, written by an
Understudy Space. Files are only ever added; the Space restores its votes from them.

- `battles`: the prompt, both answers, who gave them (`left`, `right` and the revisions), and the seed that put them on
  their sides before they were asked. `status` is `open` (it may have a vote) or `void` (it never counts, see `reason`).
  `origin` is `replay` where the answers are those of the earlier battle `replay_of`.
- `votes`: one a battle: `left`, `right`, `tie` or `both_bad`; `suspect` says why a vote is not counted.
- `withdrawals`: votes that their voters have taken back; leave them out.

`session` is a salted hash of a random number that a browser keeps, or of an account, and leads to nobody without the
salt; no name and no address is recorded. Prompts are what people wrote, so look at them before you make this
repository public.
"""


class VotesRepo:
    """One repository. Every method blocks and talks to the Hub.

    Raises, at construction:
        HubError: `name` is not `hub:ORG/NAME`.
    """

    def __init__(self, name: str, *, token: str = "", endpoint: str = "") -> None:
        parts = NAME.fullmatch(name)
        if parts is None:
            raise HubError(f"votes repository {name!r}: write hub:ORG/NAME (UNDERSTUDY_VOTES_REPO)", "name")
        self.name = name
        self._repo = parts["repo"]
        self._token = token
        self._endpoint = endpoint

    def files(self) -> list[tuple[str, bytes]]:
        """Path and content of every file of battles and votes; empty when there is no such repository yet.

        Raises:
            HubError: the Hub cannot be reached, or does not let us read.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError

        with self._explained():
            try:
                commit = hub_api(self._endpoint, self._token, timeout=TIMEOUT).dataset_info(self._repo).sha
            except RepositoryNotFoundError:
                return []
            with tempfile.TemporaryDirectory() as cache:
                folder = Path(
                    snapshot_download(
                        self._repo,
                        repo_type="dataset",
                        revision=commit,
                        allow_patterns=[f"{folder}**" for folder in FOLDERS],
                        cache_dir=cache,
                        endpoint=self._endpoint or None,
                        token=self._token or None,
                        tqdm_class=_quiet(),
                    )
                )
                paths = sorted(path for path in folder.rglob("*") if path.is_file())
                return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]

    def add(self, files: dict[str, bytes], message: str) -> None:
        """Adds files in one commit; creates a private repository when there is none. Doing it twice is harmless.

        Raises:
            HubError: the Hub cannot be reached, or does not let us write.
        """
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import RepositoryNotFoundError

        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        with self._explained():
            api = hub_api(self._endpoint, self._token, timeout=TIMEOUT)
            try:
                api.create_commit(self._repo, operations, commit_message=message, repo_type="dataset")
            except RepositoryNotFoundError:
                api.create_repo(self._repo, repo_type="dataset", private=True, exist_ok=True)
                card = CommitOperationAdd("README.md", CARD.encode())
                api.create_commit(self._repo, [card, *operations], commit_message=message, repo_type="dataset")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns whatever the client raises into one line: its transport has errors of its own."""
        try:
            yield
        except Exception as error:
            raise hub_error(error, self.name, writing=True) from error


def _quiet() -> type:
    """A tqdm class without progress bars, for a server's log."""
    from functools import partialmethod

    from huggingface_hub.utils import tqdm

    return type("Quiet", (tqdm,), {"__init__": partialmethod(tqdm.__init__, disable=True)})

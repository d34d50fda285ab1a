"""A run of the recipe `pirate` that may be verified, pushed to a small Hub, and what is there afterwards."""

import json
import os
from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

from huggingface_hub import ModelCard

from evaluate.records import EvalRecord
from evaluate.report_card import ReportCard, report_card
from evaluate.verified_runs import RECORD, REPORT_CARD
from tests.support import pirate
from tests.support.adapters import make_adapter, tensors
from tests.support.command_line import Done
from tests.support.evaluations import observed
from tests.support.hub.server import TOKEN, HubServer
from tests.support.pirate import home
from tests.support.verified_runs import proof_file
from tests.support.word_vectors import embed
from understudy.bases import base_revision, resolve_base
from understudy.config.thresholds import Thresholds
from understudy.registry.adapters import content_revision

__all__ = ["home"]


REPO, TO = "ann/pirate", "hub:ann/pirate"
PIN = base_revision(resolve_base("tiny"))
RUN = {
    "recipe": "pirate",
    "base": "tiny",
    "base_revision": PIN,
    "training": {"method": "qlora", "epochs": 4.0, "rank": 4, "learning_rate": 0.001},
    "rows": 12,
    "examples_sha256": "e" * 64,
    "versions": {"peft": "0.21.2"},
}
RESULT = {"steps": 12, "epochs": 4.0, "loss": 0.5, "seconds": 3.5, "tokens_per_second": 900.0, "peak_memory_mib": 1200}


def make_run(home: Path, *, seed: int = 0, **changes: object) -> Path:
    """The adapter of a finished run of the recipe `pirate`."""
    run = home / "runs" / "pirate" / f"{seed:012d}"
    folder = make_adapter(run / "adapter", tensors(seed=seed), **changes)
    for path in (run / "settings.json", folder / "training.json"):
        path.write_text(json.dumps(RUN))
    (run / "result.json").write_text(json.dumps({**RESULT, "seconds": 3.5 + seed}))
    for name in ("training_args.bin", "optimizer.pt", "notes.txt"):
        (folder / name).write_bytes(b"\x80\x04")
    return folder


def verify(folder: Path, thresholds: Thresholds | None = None, record: EvalRecord | None = None) -> None:
    """Leaves record and report card of this very content, as `understudy verify` does."""
    revision = {"revision": content_revision(folder)}
    seen = record or observed()
    (folder.parent / RECORD).write_text(seen.model_copy(update=revision).model_dump_json())
    card = carded(seen.model_dump_json(), (thresholds or Thresholds()).model_dump_json())
    (folder.parent / REPORT_CARD).write_text(proof_file(card.model_copy(update=revision)))


@lru_cache
def carded(record: str, thresholds: str) -> ReportCard:
    return report_card(EvalRecord.model_validate_json(record), Thresholds.model_validate_json(thresholds), embed)


def push(hub: HubServer, home: Path, *options: str, to: str = TO, token: str = TOKEN) -> Done:
    """`understudy push pirate` in this process."""
    env = {"UNDERSTUDY_HUB_ENDPOINT": hub.url, "HF_TOKEN": token}
    with patch.dict(os.environ, env), patch("huggingface_hub.constants.HF_HUB_DISABLE_XET", True):
        done = pirate.understudy(home, "push", "pirate", *(["--to", to] if to else []), *options)
    assert TOKEN not in done.stdout + done.stderr
    return done


def pushed(hub: HubServer, home: Path, *options: str, to: str = TO) -> dict:
    done = push(hub, home, *options, "--json", to=to)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def files(hub: HubServer, ref: str = "main") -> dict[str, bytes]:
    return {name: data for name, data in hub.repos[REPO].files(ref).items() if name != ".gitattributes"}


def card(hub: HubServer) -> ModelCard:
    return ModelCard(files(hub)["README.md"].decode())

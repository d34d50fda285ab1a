"""What a job does where it runs: unpack, train, verify, keep, push. Its text goes into what `train.hub.hf_jobs` writes.

It stands on Python's own library alone; the script's header says what else `understudy train` needs there.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TypedDict


class Job(TypedDict):
    """A recipe, and what is to be done with it."""

    recipe: str
    options: list[str]
    """Of `understudy train`."""
    push: str
    """Where `understudy push` sends the adapter once it is verified, such as `hub:ann/poet`; nowhere when empty."""
    bundle: str
    """SHA-256 of the program's own sources, which come as a file beside this script; empty when they are installed."""
    files: dict[str, str]
    """The recipe and its data: path below the folder of recipes, and text."""


def run_job(job: Job) -> None:
    """Trains, verifies and pushes; leaves the run beside this script, which on Hugging Face Jobs is in your bucket."""
    work = Path(tempfile.mkdtemp(prefix="understudy-"))
    if job["bundle"]:
        unpack(Path(sys.argv[1]), job["bundle"], work / "program")
    for path, text in job["files"].items():
        target = work / "recipes" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    code = understudy(work, "train", job["recipe"], *job["options"])
    if code == 0 and job["push"]:
        understudy(work, "verify", job["recipe"], "--engine", "own")  # what it found, push reads, and says what follows
    keep(work / "runs" / job["recipe"])
    if code == 0 and job["push"]:
        code = understudy(work, "push", job["recipe"], "--to", job["push"])
    shutil.rmtree(work)
    sys.exit(code)


def keep(runs: Path) -> None:
    """Copies what training and verification wrote, but for checkpoints."""
    for run in runs.glob("*"):
        kept = Path(__file__).resolve().parent / "runs" / runs.name / run.name
        shutil.copytree(run, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoints"))
        print(f"kept: {kept}", flush=True)


def unpack(bundle: Path, sha256: str, target: Path) -> None:
    """Unpacks the program's sources if they are the ones that this script was written with."""
    found = hashlib.sha256(bundle.read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{bundle}: SHA-256 {found}, expected {sha256}; send the two files that were written together")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(target)


def understudy(work: Path, *arguments: str) -> int:
    """Runs the command line with everything it writes in `work`; returns its exit code."""
    env = {
        **os.environ,
        "PYTHONPATH": str(work / "program"),
        "UNDERSTUDY_HOME": str(work / "home"),
        "UNDERSTUDY_RECIPES_DIR": str(work / "recipes"),
        "UNDERSTUDY_RUNS_DIR": str(work / "runs"),
    }
    print("$ understudy", *arguments, flush=True)
    return subprocess.run([sys.executable, "-m", "understudy", *arguments], cwd=work, env=env, check=False).returncode

"""What a job does where it runs: unpack, train, push, keep. Its text becomes the script that `train.jobs` writes.

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
    """Where `understudy push` sends the adapter, such as `hub:ann/poet`; nowhere when empty."""
    bundle: str
    """SHA-256 of the program's own sources, which come as a file beside this script; empty when they are installed."""
    files: dict[str, str]
    """The recipe and its data: path below the folder of recipes, and text."""


def run_job(job: Job) -> None:
    """Trains, pushes, and leaves the run beside this script, which on Hugging Face Jobs is in your bucket."""
    here = Path(__file__).resolve().parent
    work = Path(tempfile.mkdtemp(prefix="understudy-"))
    if job["bundle"]:
        unpack(Path(sys.argv[1]), job["bundle"], work / "program")
    for path, text in job["files"].items():
        target = work / "recipes" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    understudy(work, "train", job["recipe"], *job["options"])
    for run in (work / "runs" / job["recipe"]).iterdir():
        kept = here / "runs" / job["recipe"] / run.name
        shutil.copytree(run, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoints"))
        print(f"kept: {kept}", flush=True)
    if job["push"]:
        understudy(work, "push", job["recipe"], "--to", job["push"])
    shutil.rmtree(work)


def unpack(bundle: Path, sha256: str, target: Path) -> None:
    """Unpacks the program's sources if they are the ones that this script was written with."""
    found = hashlib.sha256(bundle.read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{bundle}: SHA-256 {found}, expected {sha256}; send the two files that were written together")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(target)


def understudy(work: Path, *arguments: str) -> None:
    """Runs the command line with everything it writes in `work`; ends with its exit code when it fails."""
    env = {
        **os.environ,
        "PYTHONPATH": str(work / "program"),
        "UNDERSTUDY_HOME": str(work / "home"),
        "UNDERSTUDY_RECIPES_DIR": str(work / "recipes"),
        "UNDERSTUDY_RUNS_DIR": str(work / "runs"),
    }
    print("$ understudy", *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", "understudy", *arguments], cwd=work, env=env, check=False)
    if done.returncode:
        sys.exit(done.returncode)

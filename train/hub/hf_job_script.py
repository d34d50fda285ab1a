"""The code of a job: unpack, train, verify, keep, push. `train.hub.hf_jobs` copies this text into the script it writes.

It needs only the standard library; the script's header lists what `understudy train` needs besides.
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
    """A recipe, and what to do with it."""

    recipe: str
    options: list[str]
    """Options of `understudy train`."""
    push: str
    """Target of `understudy push` after verification, such as `hub:ann/poet`; empty means no push."""
    bundle: str
    """SHA-256 of the program's sources, a file beside this script; empty if the program is installed."""
    files: dict[str, str]
    """The recipe and its data: text by path below the folder of recipes."""


def run_job(job: Job) -> None:
    """Train, verify and push; keep the run beside this script, which on Hugging Face Jobs is in your bucket."""
    work = Path(tempfile.mkdtemp(prefix="understudy-"))
    if job["bundle"]:
        unpack(Path(sys.argv[1]), job["bundle"], work / "program")
    for path, text in job["files"].items():
        target = work / "recipes" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    code = understudy(work, "train", job["recipe"], *job["options"])
    if code == 0 and job["push"]:
        understudy(work, "verify", job["recipe"], "--engine", "own")  # push reads the result, and refuses what failed
    keep(work / "runs" / job["recipe"])
    if code == 0 and job["push"]:
        code = understudy(work, "push", job["recipe"], "--to", job["push"])
    shutil.rmtree(work)
    sys.exit(code)


def keep(runs: Path) -> None:
    """Copy what training and verification wrote, without checkpoints."""
    for run in runs.glob("*"):
        kept = Path(__file__).resolve().parent / "runs" / runs.name / run.name
        shutil.copytree(run, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoints"))
        print(f"kept: {kept}", flush=True)


def unpack(bundle: Path, sha256: str, target: Path) -> None:
    """Unpack the program's sources, if they are the ones that this script was written with."""
    found = hashlib.sha256(bundle.read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{bundle}: SHA-256 {found}, expected {sha256}; send the two files that were written together")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(target)


def understudy(work: Path, *arguments: str) -> int:
    """Run the command line with everything it writes in `work`; return its exit code."""
    env = {
        **os.environ,
        "PYTHONPATH": str(work / "program"),
        "UNDERSTUDY_HOME": str(work / "home"),
        "UNDERSTUDY_RECIPES_DIR": str(work / "recipes"),
        "UNDERSTUDY_RUNS_DIR": str(work / "runs"),
    }
    print("$ understudy", *arguments, flush=True)
    return subprocess.run([sys.executable, "-m", "understudy", *arguments], cwd=work, env=env, check=False).returncode

"""The code of a job: unpack; then train, verify, keep, push, or serve. `understudy.hub_jobs.program` copies this text
into the script it writes.

It needs only the standard library; the script's header lists what `understudy` needs besides.
"""

import datetime
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TypedDict

WARNED = (900, 300, 60)
"""Seconds before its time-out at which a job that serves says so."""
CLOSING = 30
"""Seconds before its time-out at which it ends the gateway, so that answers in progress finish."""


class Job(TypedDict):
    """What is to be done, and the files it needs."""

    does: str
    """`train` or `serve`."""
    recipe: str
    options: list[str]
    """Options of `understudy train`, or of `understudy serve`."""
    push: str
    """Target of `understudy push` after verification, such as `hub:ann/poet`; empty means no push."""
    env: dict[str, str]
    """Settings of the job, besides where its files are."""
    seconds: float
    """Time-out of the job."""
    bundle: str
    """SHA-256 of the program's sources, a file beside this script; empty if the program is installed."""
    files: dict[str, str]
    """Text by path: the recipe and its data below the folder of recipes, or what a gateway follows."""


def run_job(job: Job) -> None:
    """Do it, and exit as it did."""
    work = Path(tempfile.mkdtemp(prefix="understudy-"))
    if job["bundle"]:
        unpack(Path(sys.argv[1]), job["bundle"], work / "program")
    for path, text in job["files"].items():
        target = work / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    code = train(work, job) if job["does"] == "train" else serve(work, job)
    shutil.rmtree(work)
    sys.exit(code)


def train(work: Path, job: Job) -> int:
    """Train, verify and push; keep the run beside this script, which on Hugging Face Jobs is in your bucket."""
    code = start(work, job, "train", job["recipe"], *job["options"]).wait()
    if code == 0 and job["push"]:
        # push reads the result, and refuses what failed
        start(work, job, "verify", job["recipe"], "--engine", "own").wait()
    keep(work / "runs" / job["recipe"])
    if code == 0 and job["push"]:
        code = start(work, job, "push", job["recipe"], "--to", job["push"]).wait()
    return code


def serve(work: Path, job: Job) -> int:
    """Run the gateway until the job's time-out is near, and say when it is."""
    end = started() + job["seconds"]
    gateway = start(work, job, "serve", *job["options"])
    signal.signal(signal.SIGTERM, lambda *_: gateway.terminate())
    clock = datetime.datetime.fromtimestamp(end, datetime.UTC).strftime("%H:%M:%S UTC")
    print(f"understudy: this job ends at {clock}; the next one has another address", flush=True)
    for left in [*(left for left in WARNED if left < end - time.time()), CLOSING]:
        try:
            return gateway.wait(max(0.0, end - left - time.time()))
        except subprocess.TimeoutExpired:
            print(f"understudy: WARNING: this job ends in {left} s, at {clock}", flush=True)
    gateway.terminate()
    gateway.wait()
    return 0


def started() -> float:
    """When the job's time began: the Hub says so; where it cannot be asked, now."""
    try:
        from huggingface_hub import HfApi

        at = HfApi().inspect_job(job_id=os.environ["JOB_ID"]).started_at
    except Exception as error:
        print(f"understudy: the Hub does not say when this job began ({type(error).__name__})", flush=True)
        at = None
    return at.timestamp() if at else time.time()


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


def start(work: Path, job: Job, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start the command line with everything it writes in `work`."""
    env = {
        **os.environ,
        **job["env"],
        "PYTHONPATH": str(work / "program"),
        "UNDERSTUDY_HOME": str(work / "home"),
        "UNDERSTUDY_RECIPES_DIR": str(work / "files"),
        "UNDERSTUDY_RUNS_DIR": str(work / "runs"),
    }
    if (work / "files" / "personas.yaml").is_file():
        env["UNDERSTUDY_PERSONAS_FILE"] = str(work / "files" / "personas.yaml")
    print("$ understudy", *arguments, flush=True)
    return subprocess.Popen([sys.executable, "-m", "understudy", *arguments], cwd=work, env=env)

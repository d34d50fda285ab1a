"""Scripts of jobs: their header as uv reads it, and the script run as a job runs it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from understudy.hub_jobs.plan import WrittenJob

HEADER = re.compile(r"^# /// script\n((?:#.*\n)+?)# ///$", re.MULTILINE)


def header(job: WrittenJob) -> dict:
    """The script's header (PEP 723)."""
    found = HEADER.search(job.script.read_text())
    assert found
    return tomllib.loads("".join(line.removeprefix("#").removeprefix(" ") for line in found[1].splitlines(True)))


def in_a_folder_of_its_own(job: WrittenJob, folder: Path) -> list[str]:
    """Script and bundle in a folder with nothing else of us; returns the command that runs it."""
    folder.mkdir()
    assert job.bundle
    return [sys.executable, *(str(shutil.copy(path, folder)) for path in (job.script, job.bundle))]


def outside(**env: str) -> dict[str, str]:
    """The environment of a job here: nothing leads to our sources."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | env


def run_script(job: WrittenJob, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    command = in_a_folder_of_its_own(job, folder)
    return subprocess.run(command, cwd=folder, env=outside(**env), capture_output=True, text=True, timeout=550)

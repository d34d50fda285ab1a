"""Shows a job of the Hub, submits it, and prints its log."""

import shlex
from collections.abc import Mapping

import typer

from understudy.cli.console import console
from understudy.config.settings import Settings
from understudy.hub_jobs.plan import WrittenJob
from understudy.hub_jobs.submit import SubmittedJob, follow_job, submit_job
from understudy.terminal import printable

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""


def show_job(job: WrittenJob, what: str) -> None:
    """What a job does, on which machine, for how long at most, and where its files are."""
    bundle, plan = job.bundle, job.plan
    size = f" and {bundle.name} ({bundle.stat().st_size / 2**20:.1f} MiB)" if bundle else ""
    console.print(f"{what}, {plan.flavor} for at most {plan.timeout}: {job.script}{size}")


def submit_and_follow(
    settings: Settings, job: WrittenJob, secrets: Mapping[str, str] | None = None, *, dry_run: bool
) -> SubmittedJob | None:
    """Submit a job and follow it to its end; a dry run prints script and command, and returns None."""
    if dry_run:
        print(job.script.read_text(encoding="utf-8"))
        console.print(f"nothing was submitted; this does it:\n  {shlex.join(job.command)}")
        return None
    submitted = submit_job(settings, job, secrets)
    console.print(f"job {submitted.id}: {submitted.url}")
    for address in submitted.exposed:
        who = "whoever has UNDERSTUDY_API_KEY" if job.public else "tokens of the Hub that may read the job"
        console.print(f"its gateway, for {who}: {address}")
    try:
        follow_job(settings, submitted, on_line=lambda line: print(printable(line), flush=True))
    except KeyboardInterrupt:
        console.print(f"\nthe job goes on without us: {submitted.url}")
        console.print(f"  see it  hf jobs logs --follow {submitted.name}\n  end it  hf jobs cancel {submitted.name}")
        raise typer.Exit(INTERRUPTED) from None
    return submitted

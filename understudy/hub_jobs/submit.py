"""Submits a job to the Hub and follows it."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.config.settings import Settings
from understudy.errors import JobError
from understudy.hub_jobs.plan import IMAGE, WrittenJob

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class SubmittedJob:
    """A job that the Hub has taken."""

    id: str
    owner: str
    url: str
    buckets: tuple[str, ...]
    """Paths on the Hub where the job keeps its files."""
    exposed: tuple[str, ...]
    """Addresses of its exposed ports."""

    @property
    def name(self) -> str:
        return f"{self.owner}/{self.id}"


def submit_job(settings: Settings, job: WrittenJob, secrets: Mapping[str, str] | None = None) -> SubmittedJob:
    """Upload the job's files to the caller's private bucket and start it, with the caller's token as its HF_TOKEN.

    `secrets` are the values of those that the job names.

    Raises:
        JobError: there is no token, or the Hub does not take the job.
    """
    api, token = _hub(settings)
    warnings.filterwarnings("ignore", message=".*run_uv_job.*experimental")
    ports = [job.port] if job.port is not None else None
    try:
        info = api.run_uv_job(
            str(job.script),
            script_args=job.arguments,
            image=IMAGE,
            flavor=job.plan.flavor,
            timeout=job.plan.timeout,
            secrets={"HF_TOKEN": token, **(secrets or {})},
            expose=None if job.public else ports,
            expose_public=ports if job.public else None,
        )
    except Exception as error:  # the client's transport has errors of its own, and they change with its version
        raise JobError(f"the Hub did not take the job: {_reason(error)}") from error
    buckets = ("/".join(filter(None, (volume.source, volume.path))) for volume in info.volumes or [])
    exposed = tuple(info.status.expose_urls or ())
    return SubmittedJob(info.id, info.owner.name, info.url, tuple(buckets), exposed)


def follow_job(settings: Settings, job: SubmittedJob, *, on_line: Callable[[str], None]) -> None:
    """Pass each line of the job's log on until the job ends. A KeyboardInterrupt leaves the job running.

    Raises:
        JobError: the job failed, or the Hub cannot be reached; then the job may still be running.
    """
    api, _ = _hub(settings)
    try:
        for line in api.fetch_job_logs(job_id=job.id, namespace=job.owner, follow=True):
            on_line(line.rstrip("\n"))
        ended = api.wait_for_job(job.id, namespace=job.owner)
    except Exception as error:  # as above
        raise JobError(f"lost sight of job {job.name} ({_reason(error)}); see {job.url}") from error
    if ended.status.stage != "COMPLETED":
        why = f": {ended.status.message}" if ended.status.message else ""
        raise JobError(f"job {job.name} ended as {ended.status.stage}{why}; see {job.url}")


def _hub(settings: Settings) -> "tuple[HfApi, str]":
    """The Hub's client and the caller's token. Raises JobError if there is no token."""
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if not token:
        raise JobError("a job needs a token of the Hub: `hf auth login`, or set HF_TOKEN")
    return HfApi(endpoint=settings.hub_endpoint or None, token=token), token


def _reason(error: Exception) -> str:
    """What went wrong and what to do, in one line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    known = {
        401: "the token is not valid; `hf auth login`",
        402: "the account cannot pay for it; add credits, or choose a smaller --flavor",
        403: "the token may not start jobs; it needs the right to (job.write)",
    }
    return known.get(status or 0, f"{status or ''} {' '.join(str(error).split()) or type(error).__name__}".strip())

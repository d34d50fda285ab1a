"""Train a recipe as a job on the Hub: write the job, submit it, follow it: `understudy train --on hf-jobs`."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import Settings
from understudy.config.validation import overridden
from understudy.data.recipe_rows import SHIPPED, training_examples
from understudy.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from train.hub.hf_jobs import JobPlan, WrittenJob


@dataclass(frozen=True)
class RemoteJob:
    """A job on disk, ready to be submitted."""

    recipe: Recipe
    base: str
    written: "WrittenJob"


@dataclass(frozen=True)
class SubmittedJob:
    """A job that the Hub has taken."""

    id: str
    owner: str
    url: str
    buckets: tuple[str, ...]
    """Paths on the Hub where the job keeps its run."""

    @property
    def name(self) -> str:
        return f"{self.owner}/{self.id}"


def job_plan(
    on: str, *, flavor: str | None, timeout: str | None, push: str | None, package: str | None, dry_run: bool
) -> "JobPlan | None":
    """The options of a job; None for training on this machine (`on` is "here").

    Raises:
        ConfigError: an option that only a job has is given for training here.
    """
    options = {"flavor": flavor, "timeout": timeout, "push": push, "package": package}
    given = {name: value for name, value in options.items() if value is not None}
    if on == "here":
        if given or dry_run:
            raise ConfigError(f"--{next(iter(given), 'dry-run')} is for a job; add --on hf-jobs")
        return None
    from train.hub.hf_jobs import JobPlan

    return JobPlan.model_validate(given)


def write_remote_job(
    settings: Settings, name: str, base: str | None, changes: dict[str, Any], plan: "JobPlan"
) -> RemoteJob:
    """Write the job's files, after everything has been checked that can be checked without paying.

    Args:
        changes: settings of training that replace the recipe's; None leaves the recipe's.

    Raises:
        ConfigError, ExamplesError: the recipe, a change or the rows cannot be used.
        TrainingError: the job cannot be written, or the Hub would refuse the plan.
    """
    from train.hub.hf_jobs import write_job

    recipe = load_recipe(name, settings.recipes_dir)
    overridden(recipe.training, changes)
    chosen = _base(settings, recipe, base)
    if recipe.data is None or chosen in SHIPPED:
        training_examples(recipe, chosen)
    given = {name: value for name, value in changes.items() if value is not None}
    options = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    return RemoteJob(recipe, chosen, write_job(recipe, chosen, options, plan, settings.runs_dir))


def submit_job(settings: Settings, job: RemoteJob) -> SubmittedJob:
    """Upload the job's files to the caller's private bucket and start it.

    Raises:
        TrainingError: there is no token, or the Hub does not take the job.
    """
    from train.hub.hf_jobs import IMAGE

    api, token = _hub(settings)
    warnings.filterwarnings("ignore", message=".*run_uv_job.*experimental")
    written = job.written
    try:
        info = api.run_uv_job(
            str(written.script),
            script_args=written.arguments,
            image=IMAGE,
            flavor=written.plan.flavor,
            timeout=written.plan.timeout,
            secrets={"HF_TOKEN": token},
        )
    except Exception as error:  # the client's transport has errors of its own, and they change with its version
        raise TrainingError(f"the Hub did not take the job: {_reason(error)}") from error
    buckets = ("/".join(filter(None, (volume.source, volume.path))) for volume in info.volumes or [])
    return SubmittedJob(id=info.id, owner=info.owner.name, url=info.url, buckets=tuple(buckets))


def follow_job(settings: Settings, job: SubmittedJob, *, on_line: Callable[[str], None]) -> None:
    """Pass each line of the job's log on until the job ends. A KeyboardInterrupt leaves the job running.

    Raises:
        TrainingError: the job failed, or the Hub cannot be reached; then the job may still be running.
    """
    api, _ = _hub(settings)
    try:
        for line in api.fetch_job_logs(job_id=job.id, namespace=job.owner, follow=True):
            on_line(line.rstrip("\n"))
        ended = api.wait_for_job(job.id, namespace=job.owner)
    except Exception as error:  # as above
        raise TrainingError(f"lost sight of job {job.name} ({_reason(error)}); see {job.url}") from error
    if ended.status.stage != "COMPLETED":
        why = f": {ended.status.message}" if ended.status.message else ""
        raise TrainingError(f"job {job.name} ended as {ended.status.stage}{why}; see {job.url}")


def _base(settings: Settings, recipe: Recipe, asked: str | None) -> str:
    """Choose as `choose_base` does, but without asking what this machine can hold: the job's machine may hold more."""
    if asked or "base" in settings.model_fields_set or recipe.base is None:
        return asked or settings.base
    return recipe.base


def _hub(settings: Settings) -> "tuple[HfApi, str]":
    """The Hub's client and the caller's token. Raises TrainingError if there is no token."""
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if not token:
        raise TrainingError("a job needs a token of the Hub: `hf auth login`, or set HF_TOKEN")
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

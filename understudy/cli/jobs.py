"""`understudy train --on hf-jobs`: writes the job, submits it, and follows it to its end."""

import shlex
import sys
import warnings
from typing import TYPE_CHECKING, Any

from rich.console import Console

from understudy.cli.training import changed
from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import Settings
from understudy.data.recipe_rows import SHIPPED, training_examples
from understudy.errors import JobError, UnderstudyError

if TYPE_CHECKING:
    from huggingface_hub import HfApi, JobInfo

    from train.hub.hf_jobs import JobPlan, WrittenJob

console = Console(stderr=True, highlight=False, soft_wrap=True)

STOPPED = 130
"""Exit code of a command that Ctrl-C ended."""


def train_on_hub(
    settings: Settings, name: str, base: str | None, changes: dict[str, Any], plan: "JobPlan", *, dry_run: bool
) -> None:
    """Trains a recipe as a job on the Hub; a dry run prints the script, and the command that would submit it.

    Raises:
        RecipeError: a setting of training cannot be used; nobody should pay for finding out.
        JobError: the job cannot be written, the Hub refuses it, or it fails there.
    """
    from train.hub.hf_jobs import write_job

    recipe = load_recipe(name, settings.recipes_dir)
    base, options = _base(settings, recipe, base), _options(changes)
    changed(recipe.training, changes)
    if recipe.data is None or base in SHIPPED:
        training_examples(recipe, base)
    job = write_job(recipe, base, options, plan, settings.runs_dir)
    size = f" and {job.bundle.name} ({job.bundle.stat().st_size / 2**20:.1f} MiB)" if job.bundle else ""
    console.print(f"{recipe.name} on {base}, {plan.flavor} for at most {plan.timeout}: {job.script}{size}")
    if dry_run:
        print(job.script.read_text(encoding="utf-8"))
        console.print(f"nothing was submitted; this does it:\n  {shlex.join(job.command)}")
        return
    api, info = _submit(settings, job)
    _follow(api, info)
    _say_where_it_is(settings, recipe, job, info)


def job_plan(on: str, *, dry_run: bool, **given: str | None) -> "JobPlan | None":
    """What the options say about a job; None for training on this machine.

    Raises:
        UnderstudyError: an option that only a job has was given for training here.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if on == "here":
        if said or dry_run:
            raise UnderstudyError(f"--{next(iter(said), 'dry-run')} is for a job; add --on hf-jobs")
        return None
    from train.hub.hf_jobs import JobPlan

    return JobPlan(**said)


def _base(settings: Settings, recipe: Recipe, asked: str | None) -> str:
    """As `understudy train` chooses, but for what this machine can hold: the job's can hold more."""
    if asked or "base" in settings.model_fields_set or recipe.base is None:
        return asked or settings.base
    return recipe.base


def _options(changes: dict[str, Any]) -> list[str]:
    return [word for key, value in changes.items() if value is not None for word in ("--set", f"{key}={value}")]


def _submit(settings: Settings, job: "WrittenJob") -> "tuple[HfApi, JobInfo]":
    """Uploads the job's files to the caller's private bucket and starts it. Raises JobError."""
    from huggingface_hub import HfApi, get_token

    from train.hub.hf_jobs import IMAGE

    token = get_token()
    if not token:
        raise JobError("a job needs a token of the Hub: `hf auth login`, or set HF_TOKEN")
    api = HfApi(endpoint=settings.hub_endpoint or None, token=token)
    options = {"image": IMAGE, "flavor": job.plan.flavor, "timeout": job.plan.timeout, "secrets": {"HF_TOKEN": token}}
    warnings.filterwarnings("ignore", message=".*run_uv_job.*experimental")
    try:
        info = api.run_uv_job(str(job.script), script_args=job.arguments, **options)
    except Exception as error:  # the client's transport has errors of its own, and they change with its version
        raise JobError(f"the Hub did not take the job: {_reason(error)}") from error
    console.print(f"job {info.id}: {info.url}")
    return api, info


def _follow(api: "HfApi", info: "JobInfo") -> None:
    """Prints the job's log until it ends. Ctrl-C leaves it running, and says so.

    Raises:
        JobError: it did not end well, or the Hub is out of reach; the job may go on all the same.
    """
    named = f"{info.owner.name}/{info.id}"
    try:
        for line in api.fetch_job_logs(job_id=info.id, namespace=info.owner.name, follow=True):
            print(line.rstrip("\n"), flush=True)
        ended = api.wait_for_job(info.id, namespace=info.owner.name)
    except KeyboardInterrupt:
        console.print(f"\nthe job goes on without us: {info.url}")
        console.print(f"  see it  hf jobs logs --follow {named}\n  end it  hf jobs cancel {named}")
        sys.exit(STOPPED)
    except Exception as error:  # as above
        raise JobError(f"lost sight of job {named} ({_reason(error)}); see {info.url}") from error
    if ended.status.stage != "COMPLETED":
        why = f": {ended.status.message}" if ended.status.message else ""
        raise JobError(f"job {named} ended as {ended.status.stage}{why}; see {info.url}")


def _say_where_it_is(settings: Settings, recipe: Recipe, job: "WrittenJob", info: "JobInfo") -> None:
    if job.plan.push:
        console.print(f"trained, and pushed to {job.plan.push}")
    for volume in info.volumes or []:
        kept = "/".join(filter(None, (volume.source, volume.path)))
        console.print(
            f"the run is kept in your bucket; to have it here:\n"
            f"  hf buckets sync hf://buckets/{kept}/runs {shlex.quote(str(settings.runs_dir))}\n"
            f"  understudy push {recipe.name}"
        )


def _reason(error: Exception) -> str:
    """What went wrong and what to do, in one line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    known = {
        401: "the token is not valid; `hf auth login`",
        402: "the account cannot pay for it; add credits, or choose a smaller --flavor",
        403: "the token may not start jobs; it needs the right to (job.write)",
    }
    return known.get(status or 0, f"{status or ''} {' '.join(str(error).split()) or type(error).__name__}".strip())

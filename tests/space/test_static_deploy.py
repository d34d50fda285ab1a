"""`understudy space deploy --flavor static`: the page that was proved goes up, and opens from there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from space.deploy.deploy_space import deploy_space
from space.deploy.files import SpaceSpec
from space.web import ISOLATION
from tests.support.hub.server import TOKEN, HubServer
from tests.support.hub.spaces import build_trouble, matter_of
from tests.support.web_page import write_small_page
from understudy.config.settings import Settings
from understudy.errors import DeployError
from understudy.workflows.exports.proof import write_record

REPO = "ann/page"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with HubServer() as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with the record of a proof."""
    folder = write_small_page(tmp_path_factory.mktemp("web"))
    write_record(folder, {"form": "web"})
    (folder / "README.md").write_text("---\ntitle: x\n---\n\nTwo voices.\n")
    return folder


def up(hub: HubServer, settings: Settings, page: Path, **options: object) -> str:
    settings = settings.model_copy(update={"hub_endpoint": hub.url})
    spec = SpaceSpec(REPO, flavor="static", page=page, **options)  # type: ignore[arg-type]
    return deploy_space(settings, spec, endpoint="", private=False, dry_run=False).commit


def test_the_space_has_the_page_and_nothing_runs_there(hub: HubServer, settings: Settings, page: Path):
    assert up(hub, settings, page, title="Our voices", models=("ann/house-copy",))
    space = hub.spaces[REPO]
    files = space.files()
    local = {path.relative_to(page).as_posix(): path.read_bytes() for path in page.rglob("*") if path.is_file()}
    assert {path: files.get(path) for path in local if path != "README.md"} == {
        path: content for path, content in local.items() if path != "README.md"
    }
    assert (space.sdk, space.variables, space.secrets) == ("static", {}, {})
    found = matter_of(files)
    assert files["README.md"].decode().split("---\n", 2)[2].strip() == "Two voices."
    assert build_trouble(files) is None
    assert (found["sdk"], found["app_file"], found["title"]) == ("static", "index.html", "Our voices")
    assert found["custom_headers"] == ISOLATION
    assert found["models"] == ["ann/house-copy"]
    assert "python_version" not in found


def test_what_is_there_already_is_not_sent_again(hub: HubServer, settings: Settings, page: Path):
    assert up(hub, settings, page)
    before = len(hub.objects)
    assert not up(hub, settings, page)
    assert len(hub.objects) == before


def test_the_hub_refuses_headers_that_it_does_not_know(
    hub: HubServer, settings: Settings, page: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(ISOLATION, "cross-origin-opener-policy", "anything")
    with pytest.raises(DeployError, match=f"^Space {REPO}: "):
        up(hub, settings, page)
    assert "index.html" not in hub.spaces[REPO].files()


@pytest.mark.parametrize(
    ("spec", "endpoint", "says"),
    [
        (SpaceSpec(REPO, flavor="static"), "", "--page FOLDER"),
        (SpaceSpec(REPO, flavor="static", page=Path("nowhere")), "", "no page there"),
        (SpaceSpec(REPO, flavor="gradio", page=Path("nowhere")), "", "--page is for --flavor static"),
        (SpaceSpec(REPO, flavor="static", page=Path("x"), hardware="l4x1", oauth=True), "", "--hardware, --oauth out"),
        (SpaceSpec(REPO, flavor="static", page=Path("x")), "https://models.example.org", "leave --endpoint out"),
    ],
)
def test_what_cannot_be_deployed_is_said_in_one_line(settings: Settings, spec: SpaceSpec, endpoint: str, says: str):
    with pytest.raises(DeployError, match=re.escape(says)) as caught:
        deploy_space(settings, spec, endpoint=endpoint, private=False, dry_run=True)
    assert len(str(caught.value).splitlines()) == 1


def test_a_page_that_was_changed_since_its_proof_is_refused(hub: HubServer, settings: Settings, tmp_path: Path):
    page = write_small_page(tmp_path)
    write_record(page, {"form": "web"})
    (page / "README.md").write_text("x")
    (page / "app.js").write_text("alert(1)")
    with pytest.raises(DeployError, match="app.js is not the file that was proved"):
        up(hub, settings, page)
    assert REPO not in hub.spaces


def test_an_export_of_another_form_is_refused(hub: HubServer, settings: Settings, tmp_path: Path):
    (tmp_path / "personas.json").write_text('{"base": {"name": "tiny"}}')
    write_record(tmp_path, {"form": "gguf"})
    with pytest.raises(DeployError, match="not that of a page"):
        up(hub, settings, tmp_path)

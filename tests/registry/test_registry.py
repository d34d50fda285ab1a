"""The registry and the adapter store: what is kept, under which name, and what history says."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from serve.rollout.validate import validate
from tests.support.adapters import make_adapter, tensors
from understudy.bases import resolve_base
from understudy.config.settings import Settings
from understudy.errors import AdapterError, NotFoundError
from understudy.registry.adapters import CONFIG, WEIGHTS, content_revision, store_adapter
from understudy.registry.registry import Registry, open_registry


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return open_registry(settings)


def test_a_pushed_adapter_is_stored_under_the_hash_of_its_content(registry: Registry, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    revision = registry.push("poet", folder, card={"title": "Poet"}, actor="ann")
    assert revision.id == content_revision(folder)
    assert revision.served_name == f"poet@{revision.id[:12]}"
    assert (registry.path(revision) / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    assert registry.persona("poet").card == {"title": "Poet"}
    assert [(e.actor, e.action) for e in registry.history("poet")] == [("ann", "push")]


def test_the_same_content_under_another_name_is_another_revision(tmp_path: Path) -> None:
    one, other = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b")
    (one / "tokenizer.json").write_text("{}")
    (other / "tokenizer_config.json").write_text("{}")
    assert content_revision(one) != content_revision(other)


def test_pushing_the_same_content_twice_is_one_revision_and_one_event(registry: Registry, tmp_path: Path) -> None:
    first = registry.push("poet", make_adapter(tmp_path / "a"), actor="ann")
    again = registry.push("poet", make_adapter(tmp_path / "b"), actor="bob")
    assert first.id == again.id
    assert len(registry.history("poet")) == 1
    assert len(list(registry.store_dir.iterdir())) == 1


def test_only_known_files_are_kept_and_links_are_not_followed(registry: Registry, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    plain = content_revision(folder)
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "README.md").symlink_to("/etc/hostname")
    (folder / "checkpoint-1").mkdir()
    assert content_revision(folder) == plain
    stored = registry.path(registry.push("poet", folder, actor="ann"))
    assert sorted(p.name for p in stored.iterdir()) == [CONFIG, WEIGHTS]


def snapshot_of(folder: Path, commit: str) -> Path:
    """A folder as the Hub's client keeps it: links to blobs of the same repository."""
    repo = folder.parent / "models--ann--poet"
    snapshot, blobs = repo / "snapshots" / commit, repo / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in folder.iterdir():
        path.rename(blobs / f"blob-of-{path.name}")
        (snapshot / path.name).symlink_to(Path("../../blobs") / f"blob-of-{path.name}")
    return snapshot


def test_a_commit_of_the_hub_is_copied_whole_and_outlives_the_cache(registry: Registry, tmp_path: Path) -> None:
    folder, commit = make_adapter(tmp_path / "a"), "a" * 40
    weights = (folder / WEIGHTS).read_bytes()
    (folder / "training_args.bin").write_bytes(b"a pickle")
    snapshot = snapshot_of(folder, commit)
    revision = registry.add_hub_revision("poet", snapshot, commit, source="hub:ann/poet@v1", actor="hub:ann/poet")
    shutil.rmtree(snapshot.parent.parent)
    stored = registry.path(revision)
    assert (revision.id, revision.source, stored.name) == (commit, "hub:ann/poet@v1", commit)
    assert sorted(p.name for p in stored.iterdir()) == [CONFIG, WEIGHTS]
    assert (stored / WEIGHTS).read_bytes() == weights
    assert not (stored / WEIGHTS).is_symlink()


def test_blobs_that_the_whole_cache_shares_are_copied_too(registry: Registry, tmp_path: Path) -> None:
    """What huggingface_hub 2 makes of files that come by Xet."""
    commit = "a" * 40
    snapshot = snapshot_of(make_adapter(tmp_path / "a"), commit)
    cache = snapshot.parent.parent.parent
    blob = (snapshot / WEIGHTS).resolve()
    shared = cache / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(Path("../..") / shared.relative_to(cache))
    assert validate(snapshot, resolve_base("tiny"), max_rank=64) == []
    revision = registry.add_hub_revision("poet", snapshot, commit, source="hub:ann/poet@v1", actor="ann")
    assert (registry.path(revision) / WEIGHTS).read_bytes() == shared.read_bytes()


@pytest.mark.parametrize("commit", ["", "main", "../../escaped", "A" * 40, "a" * 39, "a" * 64])
def test_only_a_commit_can_name_a_revision_of_the_hub(registry: Registry, tmp_path: Path, commit: str) -> None:
    with pytest.raises(AdapterError, match="is no commit"):
        registry.add_hub_revision("poet", make_adapter(tmp_path / "a"), commit, source="hub:ann/poet", actor="ann")
    assert not registry.store_dir.exists()


def test_a_link_out_of_the_hubs_cache_is_refused(registry: Registry, tmp_path: Path) -> None:
    snapshot = snapshot_of(make_adapter(tmp_path / "a"), "a" * 40)
    (snapshot / "README.md").symlink_to("/etc/hostname")
    with pytest.raises(AdapterError, match=r"README.md is a link to another place"):
        registry.add_hub_revision("poet", snapshot, "a" * 40, source="hub:ann/poet", actor="ann")
    assert list(registry.store_dir.iterdir()) == []


def test_many_pushes_of_one_adapter_at_once_leave_one_complete_folder(tmp_path: Path) -> None:
    folder, store = make_adapter(tmp_path / "a"), tmp_path / "store"
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(store_adapter(folder, store)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [content_revision(folder)] * 8
    assert [p.name for p in store.iterdir()] == seen[:1]
    assert content_revision(store / seen[0]) == seen[0]


def test_newest_revision_and_revisions_by_prefix(registry: Registry, tmp_path: Path) -> None:
    old = registry.push("poet", make_adapter(tmp_path / "a", tensors(seed=1)), actor="ann")
    new = registry.push("poet", make_adapter(tmp_path / "b", tensors(seed=2)), actor="ann")
    assert registry.revision("poet") == new
    assert registry.revision("poet", old.id[:12]) == old
    with pytest.raises(NotFoundError, match=f"revisions there are: {new.id[:12]}, {old.id[:12]}"):
        registry.revision("poet", "ffff" * 4)


def test_going_live_is_remembered_with_who_and_what(registry: Registry, tmp_path: Path) -> None:
    revision = registry.push("poet", make_adapter(tmp_path / "a"), actor="ann")
    registry.set_live(revision, actor="bob", action="publish", detail={"previous": None})
    assert registry.persona("poet").live == revision.id
    newest = registry.history("poet")[0]
    assert (newest.actor, newest.action, newest.revision) == ("bob", "publish", revision.id)


def test_a_second_process_sees_the_same_registry(settings: Settings, tmp_path: Path) -> None:
    open_registry(settings).push("poet", make_adapter(tmp_path / "a"), actor="ann")
    assert [p.name for p in open_registry(settings).personas()] == ["poet"]


@pytest.mark.parametrize("name", ["base", "Poet", "a/b", "..", "", "x" * 64, "a@b"])
def test_names_that_cannot_be_personas_are_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    with pytest.raises(AdapterError, match="cannot be a persona's name"):
        registry.push(name, make_adapter(tmp_path / "a"), actor="ann")


def test_folders_that_hold_no_safe_adapter_are_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no adapter_config.json and no adapter_model.safetensors there"):
        registry.push("poet", tmp_path, actor="ann")
    folder = make_adapter(tmp_path / "a")
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="is a pickle and is never read"):
        registry.push("poet", folder, actor="ann")
    folder = make_adapter(tmp_path / "b")
    (folder / CONFIG).write_text("{")
    with pytest.raises(AdapterError, match="not JSON"):
        registry.push("poet", folder, actor="ann")
    (folder / CONFIG).write_text(json.dumps({"r": 0}))
    with pytest.raises(AdapterError, match="rank r = 0"):
        registry.push("poet", folder, actor="ann")
    assert registry.personas() == []

"""Keys: made once, shown once, found by their hash, ended for good; and the commands for it."""

import json
import logging
import re

import pytest

from tests.support.command_line import Done, understudy
from understudy.config.settings import Settings
from understudy.errors import ConfigError, NotFoundError
from understudy.registry.api_keys import SECRET, KeyStore, hash_of, open_keys


@pytest.fixture
def keys(settings: Settings) -> KeyStore:
    return open_keys(settings)


def test_a_key_is_found_by_its_secret_and_by_nothing_else(keys: KeyStore) -> None:
    key, secret = keys.create("my app", "inference", requests_per_minute=60, created_by="ann")
    assert SECRET.fullmatch(secret)
    assert secret.startswith(f"us-{key.id}-")
    assert keys.active().get(hash_of(secret)) == key
    assert (key.name, key.kind, key.requests_per_minute, key.created_by) == ("my app", "inference", 60, "ann")
    assert key.created_at.tzinfo
    for wrong in ("", key.id, secret[:-1], secret + "a", secret.upper(), hash_of(secret), "us-é"):
        assert keys.active().get(hash_of(wrong)) is None


def test_secrets_differ_and_a_restart_keeps_the_keys(keys: KeyStore, settings: Settings) -> None:
    made = [keys.create("same name", "inference", created_by="ann") for _ in range(20)]
    assert len({secret for _, secret in made}) == len({key.id for key, _ in made}) == 20
    assert open_keys(settings).list() == keys.list()
    assert open_keys(settings).active().get(hash_of(made[3].secret)) == made[3].key


def test_the_secret_is_nowhere_but_in_what_create_returns(
    keys: KeyStore, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys.engine.echo = "debug"
    new = keys.create("app", "admin", created_by="ann")
    keys.active()
    keys.revoke(new.key.id, by="ann")
    random = new.secret[len("us-12345678-") :]
    shown = [repr(new), str(new), f"{new.key!r}", new.key.model_dump_json(), str(keys.list()), str(keys.active())]
    files = [path.read_bytes() for path in settings.home.rglob("*") if path.is_file()]
    assert any(new.key.id.encode() in content for content in files)
    assert hash_of(new.secret) in caplog.text, "statements were logged"
    assert random not in caplog.text + "".join(shown)
    assert not any(random.encode() in content for content in files)
    assert hash_of(new.secret) not in "".join(shown)


@pytest.mark.parametrize("called", ["id", "name", "secret"])
def test_a_revoked_key_is_never_found_again(keys: KeyStore, called: str) -> None:
    other = keys.create("other", "inference", created_by="ann")
    key, secret = keys.create("app", "inference", created_by="ann")
    revoked = keys.revoke({"id": key.id, "name": "app", "secret": secret}[called], by="bob")
    assert (revoked.id, revoked.revoked_by) == (key.id, "bob")
    assert keys.active().get(hash_of(secret)) is None
    assert list(keys.active().values()) == [other.key]
    assert [k.id for k in keys.list()] == [other.key.id, key.id]
    with pytest.raises(ConfigError, match=rf"key {key.id} \(app\) was revoked already, 20\d\d-.* UTC, by bob"):
        keys.revoke(key.id, by="ann")


def test_a_name_ends_a_key_only_if_one_active_key_has_it(keys: KeyStore) -> None:
    first, second = (keys.create("app", "inference", created_by="ann").key for _ in range(2))
    with pytest.raises(NotFoundError, match=f"2 keys are called 'app'; say which by its id: .*{second.id}"):
        keys.revoke("app", by="ann")
    keys.revoke(first.id, by="ann")
    assert keys.revoke("app", by="ann").id == second.id
    with pytest.raises(ConfigError, match="revoked already"):
        keys.revoke("app", by="ann")


def test_an_unknown_key_is_refused_with_those_there_are(keys: KeyStore) -> None:
    with pytest.raises(NotFoundError, match="no key 'app'; active keys there are: none"):
        keys.revoke("app", by="ann")
    key = keys.create("web", "inference", created_by="ann").key
    with pytest.raises(NotFoundError, match=rf"no key 'app'; active keys there are: {key.id} \(web\)"):
        keys.revoke("app", by="ann")
    with pytest.raises(NotFoundError, match="no key '12345678'") as refused:
        keys.revoke("us-12345678-" + "x" * 43, by="ann")
    assert "xxx" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "cannot be a key's name"),
        ({"name": " app"}, "cannot be a key's name"),
        ({"name": "x" * 64}, "cannot be a key's name"),
        ({"name": "two\nlines"}, "cannot be a key's name"),
        ({"name": "\x1b[31mred"}, "cannot be a key's name"),
        ({"name": "nul\0"}, "cannot be a key's name"),
        ({"kind": "root"}, "no kind of key 'root'; kinds there are: inference, metrics, admin"),
        ({"requests_per_minute": -1}, "requests_per_minute must be from 0"),
        ({"tokens_per_minute": 2**31}, "tokens_per_minute must be from 0"),
    ],
)
def test_what_cannot_be_a_key_is_refused_and_leaves_nothing(keys: KeyStore, changes: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        keys.create(**{"name": "app", "kind": "inference", "created_by": "ann", **changes})
    assert keys.list() == []


def test_an_id_that_is_taken_is_drawn_again(keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = keys.create("app", "inference", created_by="ann").key.id
    draws = [taken, taken, "00000001"]
    monkeypatch.setattr("understudy.registry.api_keys.secrets.token_hex", lambda _: draws.pop(0))
    assert keys.create("web", "inference", created_by="ann").key.id == "00000001"
    draws += [taken] * 5
    with pytest.raises(ConfigError, match="no free id"):
        keys.create("web", "inference", created_by="ann")


def cli(settings: Settings, *arguments: str, **env: str) -> Done:
    return understudy("keys", *arguments, env={"UNDERSTUDY_HOME": str(settings.home), "COLUMNS": "160", **env})


def test_the_commands_make_list_and_end_a_key(settings: Settings) -> None:
    done = cli(settings, "create", "[b]app", "--requests-per-minute", "60", "--max-concurrent", "2")
    secret = done.stdout.strip()
    assert done.returncode == 0
    assert SECRET.fullmatch(secret), "the secret, and nothing else, is on standard output"
    key = open_keys(settings).active().get(hash_of(secret))
    assert key
    assert secret not in done.stderr
    assert f"inference key {key.id} for [b]app, 60 requests/min, 2 at once." in done.stderr

    table = cli(settings, "list").stdout
    assert re.search(rf"{key.id} +\[b\]app +inference +60 requests/min, 2 at once +20.* {key.created_by} +-", table)
    assert secret[12:] not in table
    revoked = cli(settings, "revoke", "[b]app")
    assert "refuses it within 2 s" in revoked.stderr
    [told] = json.loads(cli(settings, "list", "--json").stdout)
    assert (told["id"], told["kind"], told["requests_per_minute"]) == (key.id, "inference", 60)
    assert told["revoked_at"] > told["created_at"]
    assert "hash" not in told
    again = cli(settings, "revoke", key.id)
    assert (again.returncode, again.stdout) == (1, "")
    assert re.match(rf"error: key {key.id} \(\[b\]app\) was revoked already", again.stderr)


def test_no_warning_where_the_door_stays_shut(settings: Settings) -> None:
    keys = open_keys(settings)
    for kind, env in (
        ("inference", {"UNDERSTUDY_ANONYMOUS": "false"}),
        ("inference", {"UNDERSTUDY_API_KEY": "k"}),
        ("metrics", {}),
    ):
        key = keys.create("app", kind, created_by="ann").key  # pyright: ignore[reportArgumentType]
        assert "warning" not in cli(settings, "revoke", key.id, **env).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("create", "app", "--kind", "root"), 2, "'root' is not one of"),
        (("create", "app", "--max-concurrent", "-1"), 2, "Invalid value for '--max-concurrent'"),
        (("create", ""), 1, "error: '' cannot be a key's name"),
        (("revoke", "nobody"), 1, "error: no key 'nobody'; active keys there are: none"),
    ],
)
def test_what_cannot_be_done_is_said_and_prints_no_key(
    settings: Settings, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = cli(settings, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr

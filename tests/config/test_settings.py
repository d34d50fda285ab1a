"""Settings: read from the environment in one place, wrong values named, secrets kept."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from understudy.config.settings import load_settings
from understudy.errors import ConfigError


def test_the_environment_is_read_and_arguments_go_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_PORT", "9001")
    monkeypatch.setenv("UNDERSTUDY_BASE", "Qwen/Qwen3-0.6B")
    assert load_settings().port == 9001
    assert load_settings(port=9002, base=None).port == 9002
    assert load_settings(base=None).base == "Qwen/Qwen3-0.6B"
    assert load_settings().gateway == "http://127.0.0.1:9001"


@pytest.mark.parametrize(("name", "value"), [("PORT", "many"), ("PORT", "70000"), ("MAX_BODY_BYTES", "0")])
def test_a_value_that_cannot_be_used_is_named_as_people_write_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"UNDERSTUDY_{name}", value)
    with pytest.raises(ConfigError, match=f"UNDERSTUDY_{name}.*found '{value}'"):
        load_settings()


def test_the_admin_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    first = load_settings(home=tmp_path).admin_secret
    assert load_settings(home=tmp_path).admin_secret == first
    assert len(first) >= 32
    assert stat.S_IMODE((tmp_path / "admin.key").stat().st_mode) == 0o600


SLOWLY = """
import sys, time
from pathlib import Path
from understudy.config.settings import load_settings

def slowly(path, text, write=Path.write_text):
    print("writing", flush=True)
    time.sleep(0.5)
    return write(path, text)

Path.write_text = slowly
print(load_settings(home=Path(sys.argv[1])).admin_secret)
"""


def test_two_processes_that_make_the_admin_key_at_once_get_the_same_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOWLY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "writing\n"
        mine = load_settings(home=tmp_path).admin_secret
        assert len(mine) > 30
        assert other.stdout.read() == f"{mine}\n"


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_ADMIN_KEY", "very-secret")
    monkeypatch.setenv("UNDERSTUDY_API_KEY", "also-secret")
    monkeypatch.setenv("UNDERSTUDY_WEBHOOK_SECRET", "third-secret")
    assert not any(f"{which}-secret" in str(load_settings()) for which in ("very", "also", "third"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_clients_reach_a_gateway_that_listens_everywhere_over_loopback(host: str) -> None:
    assert load_settings(host=host, port=8123).gateway == "http://127.0.0.1:8123"

"""The compose file: what can be checked without a container engine, and the secrets that it asks for."""

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.dockerfile import TARGETS, stages
from understudy.config import settings as settings_module
from understudy.config.settings import PROJECT, Settings, load_settings

DEPLOY = PROJECT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
STAGES = stages()
OURS = [name for name, service in SERVICES.items() if "build" in service]
SETTINGS = {f"UNDERSTUDY_{name.upper()}" for name in Settings.model_fields}


def sources(service: str) -> list[str]:
    """What is mounted into a service: paths, and names of volumes."""
    return [volume.split(":")[0] for volume in SERVICES[service].get("volumes", [])]


def secrets(service: str) -> list[str]:
    return [s if isinstance(s, str) else s["source"] for s in SERVICES[service].get("secrets", [])]


def test_every_service_is_built_here_or_has_a_version() -> None:
    for name, service in SERVICES.items():
        if name in OURS:
            assert service["build"]["target"] in STAGES
            assert (DEPLOY / service["build"]["context"] / "Dockerfile").is_file()
        else:
            assert re.search(r":v?\d+\.\d+", service["image"]), service["image"]


def test_everything_a_service_names_is_declared_and_everything_declared_is_used() -> None:
    used = {"networks": set(), "volumes": set(), "secrets": set()}
    for name, service in SERVICES.items():
        used["networks"] |= set(service["networks"])
        used["volumes"] |= {source for source in sources(name) if not source.startswith(".")}
        used["secrets"] |= set(secrets(name))
        assert set(service.get("depends_on", {})) <= set(SERVICES)
    assert {kind: set(COMPOSE[kind]) for kind in used} == used


def test_every_file_that_is_mounted_exists() -> None:
    mounted = [source for name in SERVICES for source in sources(name) if source.startswith(".")]
    assert len(mounted) >= 5
    assert all((DEPLOY / path).exists() for path in mounted), mounted


def test_every_variable_is_one_that_somebody_reads() -> None:
    told = dict(line.split("=", 1) for line in (DEPLOY / ".env.example").read_text().splitlines() if "=" in line)
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert asked | {"COMPOSE_PROFILES"} == set(told)
    for name in OURS:
        ours = {key for key in SERVICES[name]["environment"] if key.startswith("UNDERSTUDY_")}
        assert ours <= SETTINGS, ours - SETTINGS
    names = {name.upper() for name in COMPOSE["secrets"] if name.startswith("understudy_")}
    assert names <= SETTINGS


def test_only_gateway_space_and_grafana_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"gateway-cpu", "gateway-gpu", "space", "grafana"}
    assert published["gateway-cpu"] == published["gateway-gpu"], "one of them runs"
    ports = {ports[0].rpartition(":")[2] for ports in published.values()}
    assert ports == {"8000", "7860", "3000"}
    assert all(ports[0].startswith(("${BIND:-127.0.0.1}:", "127.0.0.1:")) for ports in published.values())
    assert {name for name, network in COMPOSE["networks"].items() if network} == {"state", "watching"}
    assert all(COMPOSE["networks"][name] == {"internal": True} for name in ("state", "watching"))
    for name in ("postgres", "prometheus"):
        assert "outside" not in SERVICES[name]["networks"]


def test_either_gateway_is_the_gateway_and_a_gpu_is_asked_for_by_one() -> None:
    cpu, gpu = SERVICES["gateway-cpu"], SERVICES["gateway-gpu"]
    assert (cpu["profiles"], gpu["profiles"]) == (["cpu"], ["gpu"])
    for service in (cpu, gpu):
        assert all(service["networks"][name]["aliases"] == ["gateway"] for name in ("outside", "watching"))
    assert "deploy" not in cpu
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert SERVICES["space"]["environment"]["UNDERSTUDY_GATEWAY_URL"] == "http://gateway:8000"
    assert yaml.safe_load((DEPLOY / "compose" / "targets.yml").read_text()) == [{"targets": ["gateway:8000"]}]


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "postgres"])
def test_a_service_cannot_write_its_image_or_gain_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"


def test_no_secret_is_in_an_environment_and_each_goes_only_where_it_is_needed() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|TOKEN|SECRET", key):
                assert str(value).startswith("/run/secrets/"), (name, key)
    holders = {secret: {name for name in SERVICES if secret in secrets(name)} for secret in COMPOSE["secrets"]}
    gateways = {"gateway-cpu", "gateway-gpu"}
    assert holders["understudy_admin_key"] == gateways
    assert holders["hf_token"] == holders["understudy_webhook_secret"] == gateways
    assert holders["metrics_key"] == {"prometheus"}
    assert holders["postgres_password"] == {"postgres"}


def test_every_health_check_asks_a_port_of_its_own_service() -> None:
    for service in SERVICES.values():
        words = service.get("healthcheck", {}).get("test") or []
        if "build" not in service:
            assert words[0] == "CMD"
    checked = {target: re.findall(r"127\.0\.0\.1:(\d+)", STAGES[target].last("HEALTHCHECK")) for target in TARGETS}
    for target, ports in checked.items():
        assert set(ports) <= set(STAGES[target].last("EXPOSE").split())


def test_secrets_are_made_once_for_every_name(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "secrets.sh", tmp_path)
    subprocess.run([script], check=True, capture_output=True, timeout=30)
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert f":{made['postgres_password']}@postgres:5432/" in made["understudy_database_url"]
    drawn = [text for name, text in made.items() if name.endswith(("_key", "_password", "_secret")) and text]
    assert len(set(drawn)) == len(drawn) == 5
    assert min(map(len, drawn)) == 64
    subprocess.run([script], check=True, capture_output=True, timeout=30)
    assert {path.name: path.read_text() for path in folder.iterdir()} == made
    assert "secrets/" in (DEPLOY / ".gitignore").read_text().split()


def test_settings_are_read_from_secret_files_and_the_environment_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "SECRETS", tmp_path)
    (tmp_path / "understudy_admin_key").write_text("from a file\n")
    (tmp_path / "understudy_api_key").write_text("from a file")
    monkeypatch.setenv("UNDERSTUDY_API_KEY", "from the environment")
    settings = load_settings()
    assert settings.admin_secret == "from a file"
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "from the environment"

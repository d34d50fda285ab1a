"""The files of deploy/ray that can be checked without Ray."""

import re

import pytest
import yaml
from packaging.requirements import Requirement

from understudy.config.settings import PROJECT

FOLDER = PROJECT / "deploy" / "ray"


def pins(text: str) -> dict[str, str]:
    """Versions by name of what Python 3.11 needs, which Ray's image has."""
    lines = [Requirement(line) for line in text.splitlines() if re.match(r"[a-z0-9][a-z0-9._-]*==", line)]
    needed = [one for one in lines if one.marker is None or one.marker.evaluate({"python_full_version": "3.11.9"})]
    return {one.name: str(one.specifier).removeprefix("==") for one in needed}


def test_the_engines_listen_on_loopback_as_shipped() -> None:
    config = yaml.safe_load((FOLDER / "serve_config.yaml").read_text())
    assert config["http_options"]["host"] == "127.0.0.1"
    assert config["proxy_location"] == "HeadOnly"
    (application,) = config["applications"]
    assert application["import_path"] == "understudy_ray:build"
    assert 1 <= application["args"]["min_replicas"] <= application["args"]["max_replicas"]


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_ray_adds_packages_and_changes_none(variant: str) -> None:
    ours = pins((PROJECT / "requirements" / f"{variant}.txt").read_text())
    added = pins((FOLDER / "requirements.txt").read_text())
    assert added["ray"] == "2.60.0"
    assert not set(added) & set(ours)
    assert "vllm" not in added

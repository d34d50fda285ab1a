"""The Kubernetes manifests: rendered by kubectl, checked against Kubernetes' schemas and against what they speak of."""

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.dockerfile import TARGETS, stages
from understudy.config.settings import PROJECT, Settings

K8S = PROJECT / "deploy" / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
RAY = [name for name in OVERLAYS if name.startswith("ray")]
STAGES = stages()
SETTINGS = {f"UNDERSTUDY_{name.upper()}" for name in Settings.model_fields}
SECRET_FILES = set(re.findall(r"keep (\w+)", (PROJECT / "deploy" / "secrets.sh").read_text()))
HOME = "/home/user"
"""Of the user in the images."""

RAY_FIELDS = {
    "spec": {"serveConfigV2", "rayClusterConfig", "serveService", "upgradeStrategy", "excludeHeadPodFromServeSvc"},
    "rayClusterConfig": {
        *("rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"),
        *("gcsFaultToleranceOptions", "headServiceAnnotations", "suspend", "managedBy", "authOptions"),
    },
    "autoscalerOptions": {
        *("resources", "image", "imagePullPolicy", "securityContext", "idleTimeoutSeconds", "upscalingMode"),
        *("version", "env", "envFrom", "volumeMounts"),
    },
    "headGroupSpec": {"template", "headService", "enableIngress", "rayStartParams", "serviceType"},
    "workerGroupSpecs": {
        *("groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "rayStartParams", "template"),
        *("scaleStrategy", "numOfHosts", "suspend"),
    },
}
"""Fields of ray.io/v1 that are not deprecated: docs/reference/api.md of ray-project/kuberay at 0057210ed5a9, and
authOptions of its v1.5.1."""


@functools.cache
def render(overlay: str) -> list[dict[str, Any]]:
    """The objects of an overlay."""
    tool = shutil.which("kubectl")
    if tool is None:
        pytest.skip("needs kubectl (its kustomize renders without a cluster)")
    folder = K8S / "overlays" / overlay
    done = subprocess.run([tool, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "kustomize warns of what it will not understand one day"
    return list(yaml.safe_load_all(done.stdout))


def kinds(overlay: str, kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind, by name."""
    return {one["metadata"]["name"]: one for one in render(overlay) if one["kind"] == kind}


def templates(overlay: str) -> dict[str, dict[str, Any]]:
    """All pod templates, by whose they are."""
    found = {name: one["spec"]["template"] for name, one in kinds(overlay, "Deployment").items()}
    for service in kinds(overlay, "RayService").values():
        cluster = service["spec"]["rayClusterConfig"]
        found["head"] = cluster["headGroupSpec"]["template"]
        found |= {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return found


def containers(overlay: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every container, with its pod and whose it is."""
    for name, template in templates(overlay).items():
        for container in template["spec"]["containers"]:
            yield name, template["spec"], container


def applications(overlay: str) -> dict[str, Any]:
    """What Ray Serve is told."""
    return yaml.safe_load(kinds(overlay, "RayService")["understudy-engines"]["spec"]["serveConfigV2"])


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return request.param


# --- as Kubernetes sees them ----------------------------------------------------------------------------------------
def test_kubernetes_knows_every_field(overlay: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    version = validator.latest_version()
    for one in render(overlay):
        if one["kind"] != "RayService":
            validator.validate(one, version, strict=True)
    for name, template in templates(overlay).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template["spec"]}
        validator.validate(pod, version, strict=True)


def test_the_validator_finds_what_is_wrong() -> None:
    validator = pytest.importorskip("kubernetes_validate")
    service = dict(kinds("single-cpu", "Service")["understudy-gateway"])
    with pytest.raises(validator.ValidationError):
        validator.validate(service | {"spec": service["spec"] | {"prots": []}}, validator.latest_version(), strict=True)


def test_kuberay_knows_every_field() -> None:
    for name in RAY:
        spec = kinds(name, "RayService")["understudy-engines"]["spec"]
        cluster = spec["rayClusterConfig"]
        parts = [("spec", spec), ("rayClusterConfig", cluster), ("headGroupSpec", cluster["headGroupSpec"])]
        parts += [("autoscalerOptions", cluster["autoscalerOptions"])]
        parts += [("workerGroupSpecs", group) for group in cluster["workerGroupSpecs"]]
        for part, fields in parts:
            assert set(fields) <= RAY_FIELDS[part], part
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_everything_lies_in_one_namespace_that_refuses_what_is_privileged(overlay: str) -> None:
    namespace = kinds(overlay, "Namespace")["understudy"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert all(one["metadata"].get("namespace") == "understudy" for one in render(overlay) if one is not namespace)


def test_no_container_can_write_its_image_or_gain_rights(overlay: str) -> None:
    for _, pod, container in containers(overlay):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == int(STAGES["cpu"].last("USER"))
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert "hostPath" not in str(pod["volumes"])
        assert not set(pod) & {"hostNetwork", "hostPID", "hostIPC"}
        assert {"requests", "limits"} <= set(container["resources"])
        assert "memory" in container["resources"]["limits"]


def test_a_container_may_write_where_its_image_writes(overlay: str) -> None:
    for name, pod, container in containers(overlay):
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {f"{HOME}/state", f"{HOME}/.cache", "/tmp"} <= mounted, name
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_only_who_asks_the_clusters_api_has_a_token_for_it(overlay: str) -> None:
    asks = {
        name
        for name, template in templates(overlay).items()
        if template["spec"].get("automountServiceAccountToken") is not False
    }
    assert asks == ({"head"} if overlay in RAY else set()), "Ray's autoscaler asks for pods"


# --- what they speak of ---------------------------------------------------------------------------------------------
def test_every_image_is_one_that_is_built_here(overlay: str) -> None:
    built = {*TARGETS, *re.findall(r"-t understudy:(\S+)", (K8S / "ray.Dockerfile").read_text())}
    for name, _, container in containers(overlay):
        repository, _, tag = container["image"].partition(":")
        assert repository == "registry.example/understudy"
        assert tag in built
        where = {"understudy-space": {"space"}, "understudy-gateway": {"cpu", "engine"}}
        assert tag in where.get(name, {"ray-cpu", "ray-gpu"})
        assert ("gpu" in overlay) == (tag in {"engine", "ray-gpu"}) or name == "understudy-space"


def test_the_engines_image_holds_what_ray_is_told_to_import(tmp_path: Path) -> None:
    argument, _, rest = (K8S / "ray.Dockerfile").read_text().partition("FROM ")
    assert re.search(r"^ARG BASE=understudy:cpu$", argument, re.MULTILINE)
    (tmp_path / "Dockerfile").write_text(f"FROM {rest}")
    found = stages(tmp_path / "Dockerfile")
    (stage,) = [stage for stage in found.values() if stage.base == "${BASE}"]
    assert stage.last("USER") == "1000"
    copied = {rest.split()[0] for name, rest in stage.lines if name == "COPY" and not rest.startswith("--from")}
    kept = {line[1:] for line in (K8S / "ray.Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == kept
    assert all((PROJECT / path).is_file() for path in copied), copied
    module = applications("ray-cpu")["applications"][0]["import_path"].partition(":")[0]
    (source,) = [path for path in copied if Path(path).stem == module]
    assert f"{HOME}/app/{Path(source).parent}" in stage.variables()["PYTHONPATH"].split(":")
    pinned = re.search(r"^ray==(\S+)", (PROJECT / "deploy" / "ray" / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    for name in RAY:
        assert kinds(name, "RayService")["understudy-engines"]["spec"]["rayClusterConfig"]["rayVersion"] == pinned[1]


def test_hadolint_has_nothing_to_say_about_it() -> None:
    tool = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([tool, K8S / "ray.Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_every_variable_is_one_that_somebody_reads(overlay: str) -> None:
    maps = kinds(overlay, "ConfigMap")
    (settings,) = [one for name, one in maps.items() if name.startswith("understudy-settings")]
    assert set(settings["data"]) <= SETTINGS
    Settings(**{key.removeprefix("UNDERSTUDY_").lower(): value for key, value in settings["data"].items()})
    known = {"HF_TOKEN_PATH", "HF_TOKEN", "GRADIO_TEMP_DIR", "RAY_USAGE_STATS_ENABLED"}
    for _, _, container in containers(overlay):
        names = {one["name"] for one in container["env"]}
        assert names - known <= SETTINGS
        assert not names & set(settings["data"]), "said twice"
        assert [one["configMapRef"]["name"] for one in container["envFrom"]] == [settings["metadata"]["name"]]


def test_secrets_are_named_and_never_written_down(overlay: str) -> None:
    assert not kinds(overlay, "Secret")
    for name, pod, container in containers(overlay):
        for volume in pod["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["secretName"] == "understudy"
                for item in volume["secret"]["items"]:
                    assert item["key"] in SECRET_FILES
                    assert item["path"] == item["key"], "a file is named like its setting"
        for one in container["env"]:
            if re.search("PASSWORD|_KEY|TOKEN|SECRET|DATABASE_URL", one["name"]):
                assert "valueFrom" in one or one["value"].startswith("/run/secrets/"), (name, one)
    holders = {
        name: {item["key"] for volume in pod["volumes"] for item in volume.get("secret", {}).get("items", [])}
        for name, pod, _ in containers(overlay)
    }
    assert holders["understudy-space"] == {"understudy_database_url", "understudy_api_key"}
    assert {name for name, keys in holders.items() if "understudy_admin_key" in keys} == {"understudy-gateway"}


def test_ports_are_those_of_the_images_and_everybody_is_asked_whether_they_are_well(overlay: str) -> None:
    ports = {"understudy-gateway": STAGES["engine"].last("EXPOSE"), "understudy-space": STAGES["space"].last("EXPOSE")}
    for name, _, container in containers(overlay):
        if name not in ports:
            continue  # KubeRay adds ports and probes of its own
        assert [port["containerPort"] for port in container["ports"]] == [int(ports[name])]
        assert container["livenessProbe"]["httpGet"]["path"] == ("/health" if "gateway" in name else "/")
        assert container["readinessProbe"]["httpGet"]["path"] == ("/ready" if "gateway" in name else "/")
        named = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in named
    services = kinds(overlay, "Service")
    assert set(services) == {"understudy-gateway", "understudy-space"}, "KubeRay makes the engines' own"
    labels = [template["metadata"]["labels"] for template in templates(overlay).values()]
    for name, service in services.items():
        assert [port["port"] for port in service["spec"]["ports"]] == [int(ports[name])]
        assert sum(service["spec"]["selector"].items() <= one.items() for one in labels) == 1
    for ingress in kinds(overlay, "Ingress").values():
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                assert backend["port"]["name"] in {p["name"] for p in services[backend["name"]]["spec"]["ports"]}
    said = {
        path["path"] for path in kinds(overlay, "Ingress")["understudy-gateway"]["spec"]["rules"][0]["http"]["paths"]
    }
    assert not any("/admin/publish".startswith(path) or "/metrics".startswith(path) for path in said)


def test_there_is_one_gateway_at_a_time(overlay: str) -> None:
    gateway = kinds(overlay, "Deployment")["understudy-gateway"]["spec"]
    assert (gateway["replicas"], gateway["strategy"]["type"]) == (1, "Recreate")
    targets = {one["spec"]["scaleTargetRef"]["name"] for one in kinds(overlay, "HorizontalPodAutoscaler").values()}
    assert targets == {"understudy-space"}
    assert "replicas" not in kinds(overlay, "Deployment")["understudy-space"]["spec"], "the autoscaler decides"
    grace = gateway["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > Settings.model_fields["shutdown_timeout"].default


# --- who may talk to whom -------------------------------------------------------------------------------------------
def chosen(selector: dict[str, Any], overlay: str) -> set[str]:
    """Whose pods a selector means."""
    wanted = selector.get("matchLabels", {}).items()
    return {name for name, template in templates(overlay).items() if wanted <= template["metadata"]["labels"].items()}


def test_nobody_is_reached_unless_it_is_said(overlay: str) -> None:
    policies = kinds(overlay, "NetworkPolicy")
    assert policies["nobody"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        assert chosen(policy["spec"]["podSelector"], overlay), f"{name} is about pods that do not exist"
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], "an empty list means everybody"
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            for peer in [*rule.get("from", []), *rule.get("to", [])]:
                if "podSelector" in peer:
                    assert chosen(peer["podSelector"], overlay), f"{name} speaks of pods that do not exist"
    for kind in ("PodDisruptionBudget",):
        for name, one in kinds(overlay, kind).items():
            assert chosen(one["spec"]["selector"], overlay), name


@pytest.mark.parametrize("name", RAY)
def test_only_the_gateway_and_the_operator_reach_an_engine(name: str) -> None:
    policy = kinds(name, "NetworkPolicy")["engine"]["spec"]
    assert chosen(policy["podSelector"], name) == {"head", "engines"}
    who = {}
    for rule in policy["ingress"]:
        for peer in rule["from"]:
            whose = frozenset(chosen(peer["podSelector"], name)) if "podSelector" in peer else "operator"
            who[whose] = {port["port"] for port in rule.get("ports", [])} or "all"
    port = applications(name)["http_options"]["port"]
    assert who == {
        frozenset({"understudy-gateway"}): {port},
        frozenset({"head", "engines"}): "all",
        "operator": {8265, port, 52365},
    }
    outward = kinds(name, "NetworkPolicy")["gateway"]["spec"]["egress"]
    assert any("to" in rule and chosen(rule["to"][0]["podSelector"], name) == {"head", "engines"} for rule in outward)


# --- engines on Ray -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", RAY)
def test_ray_is_told_what_deploy_ray_tells_it(name: str) -> None:
    here = applications(name)
    there = yaml.safe_load((PROJECT / "deploy" / "ray" / "serve_config.yaml").read_text())
    (ours,), (theirs,) = here["applications"], there["applications"]
    assert {key: ours[key] for key in ours if key != "args"} == {key: theirs[key] for key in theirs if key != "args"}
    assert set(ours["args"]) == set(theirs["args"])
    cluster = kinds(name, "RayService")["understudy-engines"]["spec"]["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]
    args = ours["args"]
    assert (group["minReplicas"], group["maxReplicas"]) == (args["min_replicas"], args["max_replicas"])
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert int(limits["cpu"]) >= args["cpus"]
    assert int(limits.get("nvidia.com/gpu", 0)) == args["gpus"], "one engine a pod"


@pytest.mark.parametrize("name", RAY)
def test_rays_own_ports_want_a_token(name: str) -> None:
    cluster = kinds(name, "RayService")["understudy-engines"]["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("name", RAY)
def test_gateway_and_engines_share_a_store_and_an_address(name: str) -> None:
    (settings,) = [one for key, one in kinds(name, "ConfigMap").items() if key.startswith("understudy-settings")]
    port = applications(name)["http_options"]["port"]
    assert settings["data"]["UNDERSTUDY_ENGINE_URL"] == f"http://understudy-engines-serve-svc:{port}"
    claim = kinds(name, "PersistentVolumeClaim")["understudy-state"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for whose, pod, container in containers(name):
        mount = next(mount for mount in container["volumeMounts"] if mount["mountPath"] == f"{HOME}/state")
        volume = next(volume for volume in pod["volumes"] if volume["name"] == mount["name"])
        if whose != "understudy-space":
            assert volume["persistentVolumeClaim"]["claimName"] == "understudy-state"
            assert mount.get("readOnly", False) == (whose != "understudy-gateway"), "only the gateway writes revisions"
        if whose in ("head", "engines"):
            home = next(one["value"] for one in container["env"] if one["name"] == "UNDERSTUDY_HOME")
            assert home == f"{HOME}/state"
            assert port in {one["containerPort"] for one in container["ports"]}


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name not in RAY])
def test_an_engine_of_its_own_needs_no_address(name: str) -> None:
    assert not kinds(name, "RayService")
    assert all("UNDERSTUDY_ENGINE_URL" not in one["data"] for one in kinds(name, "ConfigMap").values())
    (gateway,) = [container for who, _, container in containers(name) if who == "understudy-gateway"]
    assert ("nvidia.com/gpu" in gateway["resources"]["limits"]) == ("gpu" in name)

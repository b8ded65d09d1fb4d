"""The files for container engines fit the service, as far as a test without an engine can check."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from app import create_app
from app.config import TABLE, ConfigError, Settings
from deploy.local.runner import PARAMETERS
from deploy.local.stack import ROOT, procfile
from deploy.replica_set import USERS

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = ROOT / "deploy"
IMAGE = "order-service"
KUBERNETES = "1.37.0"
# The containers that run the service, by the process of the Procfile that each of them is.
PROCESSES = {"migrate": "release", "web": "web", "relay": "relay", "worker": "worker", "beat": "beat"}
LEASED = ("relay", "beat")

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


class Pod(NamedTuple):
    """The name and kind of a workload, its pod, and its working container."""

    name: str
    kind: str
    spec: dict[str, Any]
    container: dict[str, Any]


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        if file.name != "kustomization.yaml":
            for number, manifest in enumerate(yaml.safe_load_all(file.read_text()), 1):
                yield f"{file.name} {number}", manifest


MANIFESTS = dict(manifests())


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """The manifests of a kind, by their names."""
    found = (manifest for manifest in MANIFESTS.values() if manifest["kind"] == kind)
    return {manifest["metadata"]["name"]: manifest for manifest in found}


def pod(name: str, manifest: dict[str, Any]) -> Pod:
    spec = manifest["spec"]["template"]["spec"]
    return Pod(name, manifest["kind"], spec, spec["containers"][0])


PODS = [pod(*each) for kind in ("Job", "Deployment") for each in of_kind(kind).items()]
every_pod = pytest.mark.parametrize("pod", PODS, ids=[each.name for each in PODS])
every_service = pytest.mark.parametrize("name", SERVICES)


def process_variables() -> set[str]:
    """The variables that the processes read in addition to the settings."""
    read = re.findall(r"\$\{(\w+):-", (ROOT / "Procfile").read_text())
    return {*read, *re.findall(r"environ(?:\.get\(|\[)['\"](\w+)", (DEPLOY / "gunicorn.conf.py").read_text())}


KNOWN = {name.upper() for name in TABLE} | process_variables()


def variables(example: str) -> dict[str, str]:
    """The variables that an example of an environment sets."""
    lines = (DEPLOY / example).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))  # type: ignore[misc]


def test_the_compose_file_has_the_form_of_one() -> None:
    """By the schema of the Compose specification."""
    jsonschema.validate(COMPOSE, get_builtin_schema("vendor.compose-spec"))


@every_service
def test_every_service_of_compose_is_confined(name: str) -> None:
    """It cannot write to its image, cannot gain rights, and has limited resources."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] in ("unless-stopped", "on-failure:5")
    assert "memory" in service["deploy"]["resources"]["limits"]
    assert service["image"].startswith(f"{IMAGE}:") or service["user"].split(":")[0] != "0"


def test_no_deployment_lets_callers_move_the_time() -> None:
    files = [file for file in DEPLOY.rglob("*") if file.is_file() and "local" not in file.parts]
    assert [file.name for file in files if b"TEST_CLOCK" in file.read_bytes()] == []


@every_service
def test_every_image_of_compose_is_of_one_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image.startswith(f"{IMAGE}:${{VERSION") or re.search(r":\d+\.\d+\.\d+", image)


@pytest.mark.parametrize("name", [name for name in SERVICES if name.startswith("mongo")])
def test_locks_of_a_dead_worker_last_as_short_in_compose_as_on_one_machine(name: str) -> None:
    for parameter, value in PARAMETERS.items():
        assert f"--setParameter {parameter}={value}" in SERVICES[name]["command"][0]


@pytest.mark.parametrize(("name", "process"), PROCESSES.items())
def test_compose_runs_the_commands_of_the_procfile(name: str, process: str) -> None:
    """A dollar sign for the shell is doubled in a compose file."""
    shell, option, command = SERVICES[name]["command"]
    assert (shell, option) == ("/bin/sh", "-c")
    assert command.replace("$$", "$") == f"exec {procfile()[process]}"


@pytest.mark.parametrize("command", procfile().values(), ids=procfile())
def test_no_path_of_a_command_is_split_at_a_space(command: str) -> None:
    """The shell splits text outside of quotes."""
    assert not re.search(r'\$(?![^" ]*")', command)


@every_service
def test_compose_starts_in_an_order_that_can_be_waited_for(name: str) -> None:
    """No service waits for the health of one without a check, or for the end of one that keeps running."""
    for other, how in SERVICES[name].get("depends_on", {}).items():
        health = SERVICES[other].get("healthcheck", {"disable": True})
        if how["condition"] == "service_healthy":
            assert "test" in health
        else:
            assert SERVICES[other]["restart"].startswith("on-failure")


def test_the_proxy_of_compose_finds_web_and_is_found() -> None:
    """It is also the only proxy that web trusts."""
    nginx, web = SERVICES["nginx"], SERVICES["web"]
    assert nginx["volumes"] == ["./nginx.conf:/etc/nginx/nginx.conf:ro"]
    configuration = (DEPLOY / "nginx.conf").read_text()
    assert re.findall(r"(?m)^ +server (\S+);", configuration) == [f"web:{TABLE['port'].default}"]
    assert nginx["ports"][0].rpartition(":")[2] in re.findall(r"(?m)^ +listen (\d+)\b", configuration)
    assert set(nginx["networks"]) & set(web["networks"])
    assert web["environment"]["TRUSTED_PROXIES"] == "1"


def test_compose_passes_on_no_variable_without_a_reader() -> None:
    """The examples set every variable that compose requires."""
    text = (DEPLOY / "compose.yaml").read_text()
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert asked == set(variables("compose.env.example"))
    for name in PROCESSES:
        assert set(SERVICES[name]["environment"]) <= KNOWN
    assert set(variables("service.env.example")) <= KNOWN
    assert {variable for variable, _ in USERS.values()} <= set(SERVICES["replica-set"]["environment"])


def test_the_example_of_the_settings_is_refused_until_its_blanks_are_filled_in() -> None:
    """The errors name the missing settings, and no others."""
    example = variables("service.env.example")
    filled = {
        "JWT_ISSUER": "https://i.example",
        "JWT_AUDIENCE": "a",
        "JWT_JWKS_URL": "https://i.example/k",
        "PAYMENT_PROVIDER": "sandbox",
        "PRICES": "client",
    }
    assert Settings.from_env({**example, **filled}).auth == "jwt"
    for blank in filled:
        with pytest.raises(ConfigError):
            Settings.from_env({**example, **filled, blank: ""})


def test_no_secret_is_in_an_example() -> None:
    for name in ("compose.env.example", "service.env.example"):
        assert not any(value for key, value in variables(name).items() if re.search("KEY|PASS|SECRET", key))
    stored = of_kind("Secret")["order-service"]["stringData"]
    assert all("PASSWORD" in value or "REPLACE" in value for value in stored.values())


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_manifest_has_the_form_of_its_kind(name: str) -> None:
    """By the schemas of that version of Kubernetes, without unknown fields."""
    kubernetes_validate.validate(MANIFESTS[name], KUBERNETES, strict=True)


def test_every_manifest_but_the_example_of_secrets_is_applied() -> None:
    folder = DEPLOY / "kubernetes"
    applied = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    there = {file.name for file in folder.glob("*.yaml")}
    assert set(applied) == there - {"kustomization.yaml", "secret.example.yaml"}


@every_pod
def test_kubernetes_runs_the_commands_of_the_procfile(pod: Pod) -> None:
    assert pod.container["image"] == IMAGE
    assert pod.container["command"] == ["/bin/sh", "-c"]
    assert pod.container["args"] == [f"exec {procfile()[PROCESSES[pod.name]]}"]


@every_pod
def test_every_pod_is_confined(pod: Pod) -> None:
    """By the strictest pod security standard, and with a read-only root."""
    assert pod.spec["automountServiceAccountToken"] is False
    assert pod.spec["securityContext"]["runAsNonRoot"] is True
    assert pod.spec["securityContext"]["runAsUser"] == int(re.findall(r"USER (\d+)", DOCKERFILE)[0])
    assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [pod.container, *pod.spec.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


def test_pods_get_no_variable_without_a_reader() -> None:
    """And no variable is set twice."""
    plain, secret = of_kind("ConfigMap")["order-service"]["data"], of_kind("Secret")["order-service"]
    assert plain.keys() | secret["stringData"].keys() <= KNOWN
    assert not plain.keys() & secret["stringData"].keys()
    assert Settings.from_env({**plain, **secret["stringData"]}).payment_provider == "stripe"


def test_the_probes_use_existing_paths() -> None:
    """On the port that web listens on."""
    web = next(pod for pod in PODS if pod.name == "web").container
    ports = {port["name"]: port["containerPort"] for port in web["ports"]}
    settings = of_kind("ConfigMap")["order-service"]["data"]
    assert ports == {"http": int(TABLE["port"].default or ""), "metrics": int(settings["METRICS_PORT"])}
    app = create_app(Settings.from_env({"AUTH": "off"}))
    paths = {rule.rule for rule in app.url_map.iter_rules()}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert web[probe]["httpGet"]["path"] in paths
        assert web[probe]["httpGet"]["port"] == "http"
    assert f"EXPOSE {ports['http']}\n" in DOCKERFILE


def test_every_process_shows_its_metrics_to_prometheus() -> None:
    port = int(of_kind("ConfigMap")["order-service"]["data"]["METRICS_PORT"])
    for pod in PODS:
        if pod.kind == "Deployment":
            assert {"name": "metrics", "containerPort": port} in pod.container["ports"]


def test_liveness_does_not_depend_on_a_server() -> None:
    """A database that is down is no reason to restart the processes that wait for it."""
    web = next(pod for pod in PODS if pod.name == "web").container
    assert web["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_every_process_has_the_time_to_end() -> None:
    """Web gets longer than gunicorn gives its requests, plus the seconds before SIGTERM."""
    graceful = int(re.findall(r'"GRACEFUL_TIMEOUT"\) or (\d+)', (DEPLOY / "gunicorn.conf.py").read_text())[0])
    web = next(pod for pod in PODS if pod.name == "web")
    before = web.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert web.spec["terminationGracePeriodSeconds"] >= before + graceful + 5
    assert int(SERVICES["web"]["stop_grace_period"].removesuffix("s")) >= graceful + 5


@pytest.mark.parametrize("kind", ["PodDisruptionBudget", "Service"])
def test_selectors_find_their_pods(kind: str) -> None:
    for name, manifest in of_kind(kind).items():
        selector = manifest["spec"]["selector"]
        labels = of_kind("Deployment")[name]["spec"]["template"]["metadata"]["labels"]
        assert selector.get("matchLabels", selector).items() <= labels.items()


def test_every_process_can_lose_a_node() -> None:
    """Each has two pods or more on different nodes, and a drain leaves one."""
    scaled = of_kind("HorizontalPodAutoscaler")
    for name, manifest in of_kind("Deployment").items():
        spec = manifest["spec"]
        least = scaled[name]["spec"]["minReplicas"] if name in scaled else spec["replicas"]
        assert least >= 2
        assert name not in scaled or "replicas" not in spec
        assert name in of_kind("PodDisruptionBudget")
        assert {each["topologyKey"] for each in spec["template"]["spec"]["topologySpreadConstraints"]} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }


def test_processes_that_work_alone_are_not_scaled() -> None:
    assert not of_kind("HorizontalPodAutoscaler").keys() & set(LEASED)


def test_ports_that_policies_name_exist() -> None:
    named = {port["name"] for pod in PODS for port in pod.container.get("ports", [])}
    for policy in of_kind("NetworkPolicy").values():
        for rule in policy["spec"].get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= named
    backend = of_kind("Ingress")["web"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["port"]["name"] in {port["name"] for port in of_kind("Service")["web"]["spec"]["ports"]}


def test_the_dockerfile_is_as_its_linter_wants_it() -> None:
    """All of its rules apply."""
    linter = Path(sys.executable).with_name("hadolint")
    command = [str(linter), "--no-color", "--format", "json", str(ROOT / "Dockerfile")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(ended.stdout) == []


def test_the_image_is_small_confined_and_of_one_version() -> None:
    stages = dict(re.findall(r"(?m)^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE))
    outside = [image for image in stages if image not in stages.values()]
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image in outside)
    assert re.search(r"(?m)^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE)
    assert re.search(r'(?m)^HEALTHCHECK .*CMD \["python", "deploy/healthcheck.py"\]$', DOCKERFILE)
    assert re.findall(r"(?m)^CMD (.*)$", DOCKERFILE) == [json.dumps(procfile()["web"].split())]
    assert "--require-hashes" in DOCKERFILE
    assert not re.search(r"(?m)^(ADD|ENTRYPOINT) ", DOCKERFILE)


def test_all_that_is_copied_into_the_image_is_let_into_its_build() -> None:
    """The build sees nothing else, so nothing else can be in the image."""
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE)
    let_in = re.findall(r"(?m)^!(.+)$", (ROOT / ".dockerignore").read_text())
    assert sorted(" ".join(copied).split()) == sorted(let_in)
    assert all(list(ROOT.glob(name)) for name in let_in)

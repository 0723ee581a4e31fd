"""Whether what stands in conf/kubernetes is what the API takes, and fits together and to the server's settings."""

import contextlib
import re
import runpy
import subprocess

import pytest
from conf.files import APPLICATION, CONF, as_the_api_reads_it, objection, read, tool
from support import Client, eventually

from pyserver.settings.model import ROWS, Settings

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed here")

DIRECTORY = CONF / "kubernetes"
KUSTOMIZATION = yaml.safe_load(read("kubernetes/kustomization.yaml"))
RESOURCES = {
    document["kind"]: document
    for name in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all(read(f"kubernetes/{name}"))
}
SPEC = RESOURCES["Deployment"]["spec"]
POD = SPEC["template"]["spec"]
[CONTAINER] = POD["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
LABELS = SPEC["template"]["metadata"]["labels"]
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}


@pytest.fixture
def config(tmp_path):
    """The config file of the ConfigMap, as it is mounted."""
    [(name, text)] = RESOURCES["ConfigMap"]["data"].items()
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def settings_in(config):
    """The settings of the pod."""
    given = {name: value for name, value in runpy.run_path(str(config)).items() if name in ROWS}
    return Settings(**{name: ROWS[name].read(value) for name, value in given.items()})


def test_every_file_is_applied():
    names = {path.name for path in DIRECTORY.glob("*.yaml")} - {"kustomization.yaml"}
    assert names == set(KUSTOMIZATION["resources"])


@pytest.mark.parametrize("kind", RESOURCES)
def test_the_api_takes_each_resource(kind):
    pytest.importorskip("lightkube", reason="lightkube is not installed here")
    resource = RESOURCES[kind]
    assert as_the_api_reads_it(resource["apiVersion"], kind, resource) == resource


@pytest.mark.skipif(not tool("kubectl"), reason="kubectl is not installed here")
def test_kubectl_puts_them_together():
    built = subprocess.run(["kubectl", "kustomize", str(DIRECTORY)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    made = {document["kind"]: document for document in yaml.safe_load_all(built.stdout)}
    assert set(made) == set(RESOURCES)
    [image] = KUSTOMIZATION["images"]
    [container] = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{image['newName']}:{image['newTag']}"


def test_the_server_accepts_the_config_file(config, tmp_path):
    mounted = f"{CONTAINER['volumeMounts'][0]['mountPath']}/{config.name}"
    program, *arguments = CONTAINER["args"]
    assert program == "pyserver"
    assert mounted in arguments
    assert not objection([str(config) if word == mounted else word for word in arguments], tmp_path)


def test_the_ports_are_those_of_the_server(config):
    settings = settings_in(config)
    [listener] = settings.bind
    assert str(listener).endswith(f":{PORTS['http']}")
    assert str(settings.admin).endswith(f":{PORTS['admin']}")


def test_the_probes_and_the_service_name_ports_of_the_pod():
    probes = [CONTAINER[f"{name}Probe"]["httpGet"]["port"] for name in ("startup", "liveness", "readiness")]
    assert set(probes) == {"admin"}
    assert {port["targetPort"] for port in RESOURCES["Service"]["spec"]["ports"]} == {"http"}
    allowed = {port["port"] for rule in RESOURCES["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}
    assert allowed == set(PORTS)


def test_everything_is_about_the_same_pods():
    selectors = [
        RESOURCES["Service"]["spec"]["selector"],
        SPEC["selector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        RESOURCES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        RESOURCES["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == LABELS for selector in selectors)
    target = RESOURCES["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", RESOURCES["Deployment"]["metadata"]["name"])
    [rule] = RESOURCES["Ingress"]["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]["name"]
    assert backend == RESOURCES["Service"]["metadata"]["name"]


def test_a_pod_is_given_the_time_that_the_server_takes_to_stop(config):
    settings = settings_in(config)
    _, pause = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    needed = float(pause) + settings.drain_delay + settings.graceful_timeout
    assert POD["terminationGracePeriodSeconds"] > needed


def test_a_pod_is_given_the_time_that_the_server_takes_to_start(config):
    probe = CONTAINER["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > settings_in(config).boot_timeout


def test_workers_are_replaced_before_the_container_is_full(config):
    settings = settings_in(config)
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", CONTAINER["resources"]["limits"]["memory"]).groups()
    assert 0 < settings.workers * settings.max_worker_memory < int(number) * UNITS[unit]


def test_a_pod_runs_as_the_account_of_the_image():
    context = POD["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in read("docker/Dockerfile")


def test_one_pod_may_always_be_moved():
    budget = RESOURCES["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    assert 0 < budget < RESOURCES["HorizontalPodAutoscaler"]["spec"]["minReplicas"]


def test_the_probes_ask_where_the_admin_bind_answers(config, start):
    # Of what is in it, only where the server listens is not for this machine.
    here = {"0.0.0.0:8000": "127.0.0.1:0", "0.0.0.0:9180": "unix:admin.sock"}
    config.write_text(re.sub("|".join(here), lambda found: here[found[0]], config.read_text("utf-8")), "utf-8")
    (config.parent / "app.py").write_text(APPLICATION, "utf-8")
    server = start("app:application", "--config", str(config), bind=None)
    server.wait_until_listening()
    for probe in ("startup", "liveness", "readiness"):
        asked = CONTAINER[f"{probe}Probe"]["httpGet"]["path"]
        eventually(lambda asked=asked: status_at(str(server.directory / "admin.sock"), asked) == 200)


def status_at(address, target):
    """The status of the answer; None while nobody answers."""
    with contextlib.suppress(OSError), Client(address) as client:
        return client.request("GET", target).status

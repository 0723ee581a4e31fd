"""Whether the commands in conf/platforms listen where $PORT says, and stop in the time that there is."""

import subprocess

import pytest
from conf.files import APPLICATION, as_the_api_reads_it, objection, read


def in_procfile(**variables):
    """The command of the web process, as a shell makes it."""
    kind, _, line = read("platforms/Procfile").strip().partition(": ")
    assert kind == "web"
    script = f'for word in {line}; do printf "%s\\n" "$word"; done'
    return subprocess.run(
        ["sh", "-fc", script], env=variables, capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.fixture
def service():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed here")
    return yaml.safe_load(read("platforms/cloudrun.yaml"))["spec"]["template"]["spec"]


@pytest.fixture
def container(service):
    [container] = service["containers"]
    return container


def value(arguments, flag):
    return arguments[arguments.index(flag) + 1]


def test_the_server_accepts_the_procfile(tmp_path):
    program, *arguments = in_procfile()
    assert program == "pyserver"
    assert not objection(arguments, tmp_path, PORT="8000")


def test_the_procfile_listens_where_the_port_says(start, tmp_path):
    _, *arguments, application = in_procfile()
    (tmp_path / "app.py").write_text(APPLICATION, "utf-8")
    server = start(application, *arguments, bind=None, env={"PORT": "0"})
    server.wait_until_listening()
    assert server.addresses[0][0] == "0.0.0.0"
    assert server.get("/").content == b"served"


def test_the_platform_of_a_procfile_says_how_many_workers_there_are():
    assert value(in_procfile(), "--workers") == "2"
    assert value(in_procfile(WEB_CONCURRENCY="5"), "--workers") == "5"


def test_the_server_accepts_the_command_of_the_service(container, tmp_path):
    assert container["command"] == ["pyserver"]
    assert not objection(container["args"], tmp_path, PORT="8080")
    assert "--bind" not in container["args"]


def test_the_container_of_the_service_is_one_of_kubernetes(container):
    pytest.importorskip("lightkube", reason="lightkube is not installed here")
    assert as_the_api_reads_it("v1", "Container", container) == container


def test_a_container_gets_as_many_requests_as_it_runs(service, container):
    arguments = container["args"]
    assert service["containerConcurrency"] == int(value(arguments, "--workers")) * int(value(arguments, "--threads"))


def test_the_probes_ask_where_the_server_answers(container):
    path = value(container["args"], "--health-path")
    assert {container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness")} == {path}


def test_the_time_to_stop_is_shorter_than_the_platforms(container):
    assert float(value(container["args"], "--graceful-timeout")) < 10  # Cloud Run
    assert float(value(in_procfile(), "--graceful-timeout")) < 30  # Heroku, and others that took its ways

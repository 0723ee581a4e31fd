"""Whether the images of conf/docker and conf/lambda would serve, be found healthy, and stop as they should."""

import json
import re
import subprocess
import sys

import pytest
from conf.files import APPLICATION, CONF, command, instructions, objection, read, variables

from pyserver.settings.model import Settings

DOCKERFILES = ["docker/Dockerfile", "lambda/Dockerfile"]
KEYWORDS = {"ARG", "FROM", "RUN", "COPY", "WORKDIR", "USER", "ENV", "EXPOSE", "HEALTHCHECK", "CMD"}
HEALTH = """
status = "200 OK"

def application(environ, start_response):
    global status
    if environ["PATH_INFO"] == "/break":
        status = "503 Service Unavailable"
    start_response(status if environ["PATH_INFO"] == "/livez" else "404 Not Found", [("Content-Length", "0")])
    return []
"""


def seconds(text):
    """A duration as in `30s`."""
    return float(re.fullmatch(r"(\d+)s", text)[1])


@pytest.mark.parametrize("name", DOCKERFILES)
def test_each_instruction_is_one(name):
    assert {keyword for keyword, _ in instructions(name)} <= KEYWORDS


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_server_accepts_the_command_of_an_image(name, tmp_path):
    program, *arguments = command(name)
    assert program == "pyserver"
    assert not objection(arguments, tmp_path, PORT=variables(name)["PORT"])


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_listens_where_its_port_says(name, start, tmp_path):
    _, *arguments, application = command(name)
    (tmp_path / "app.py").write_text(APPLICATION, "utf-8")
    if "--admin" in arguments:
        arguments[arguments.index("--admin") + 1] = "unix:admin.sock"
    server = start(application, *arguments, bind=None, env={"PORT": "0"})
    server.wait_until_listening()
    assert server.addresses[0][0] == "0.0.0.0"
    assert server.get("/").content == b"served"


def test_the_server_of_an_image_is_not_root():
    user = [argument for keyword, argument in instructions("docker/Dockerfile") if keyword == "USER"][-1]
    number = re.search(r"useradd --uid (\d+)", read("docker/Dockerfile"))[1]
    assert user == f"{number}:{number}"
    assert int(number) > 0


def test_what_builds_is_not_in_the_image():
    stages = [argument for keyword, argument in instructions("docker/Dockerfile") if keyword == "FROM"]
    assert stages == ["python:${PYTHON} AS build", "python:${PYTHON}-slim"]
    assert "COPY --from=build /srv/venv /srv/venv" in read("docker/Dockerfile")


def test_the_health_check_believes_the_admin_bind(serve):
    [check] = [argument for keyword, argument in instructions("docker/Dockerfile") if keyword == "HEALTHCHECK"]
    program, *arguments = json.loads(check.partition(" CMD ")[2])
    assert program == "python"
    server = serve(HEALTH)

    def code():
        here = [argument.replace("9180", str(server.address[1])) for argument in arguments]
        return subprocess.run([sys.executable, *here], stderr=subprocess.DEVNULL, timeout=60).returncode

    assert code() == 0
    server.get("/break")
    # Docker has a meaning for 0 and 1 only.
    assert code() == 1
    server.stop()
    assert code() == 1


def test_the_health_check_asks_where_the_server_answers():
    arguments = command("docker/Dockerfile")
    host, _, port = arguments[arguments.index("--admin") + 1].rpartition(":")
    assert f"HTTPConnection('{host}', {port}," in read("docker/Dockerfile")


def test_a_container_has_the_time_that_a_server_has_to_start():
    assert seconds(re.search(r"--start-period=(\S+)", read("docker/Dockerfile"))[1]) > Settings().boot_timeout


def test_the_adapter_asks_where_the_server_answers():
    given, arguments = variables("lambda/Dockerfile"), command("lambda/Dockerfile")
    assert given["AWS_LWA_PORT"] == given["PORT"]
    assert given["AWS_LWA_READINESS_CHECK_PATH"] == arguments[arguments.index("--health-path") + 1]


@pytest.fixture
def services():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed here")
    return yaml.safe_load(read("docker/compose.yaml"))["services"]


def test_compose_waits_for_requests_to_end(services):
    assert seconds(services["app"]["stop_grace_period"]) > Settings().graceful_timeout


def test_compose_builds_from_what_is_there(services):
    build = services["app"]["build"]
    assert (CONF / "docker" / build["context"] / "Dockerfile").exists()
    assert (CONF / "docker" / build["additional_contexts"]["pyserver"] / "pyproject.toml").exists()


def test_compose_gives_the_application_what_it_reads(services):
    compile(read("docker/app.py"), "app.py", "exec")
    assert set(re.findall(r"os\.environ\[\"(\w+)\"\]", read("docker/app.py"))) <= set(services["app"]["environment"])

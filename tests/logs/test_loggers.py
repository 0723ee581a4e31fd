"""Both logs through the standard library's logging: configurations and classes that were written for gunicorn."""

import json
import signal

import pytest
from classes import with_each_class
from support import eventually

APPLICATION = """
    import logging

    def application(environ, start_response):
        logging.getLogger("shop").warning("served %s", environ["PATH_INFO"])
        start_response("200 OK", [("X-Made", "made")])
        return [b"hello"]
"""
# As they are found in projects: a formatter that looks at the atoms, handlers for files, loggers of the application.
FORMATTERS = """
import json
import logging


class AccessFormatter(logging.Formatter):
    def format(self, record):
        atoms = record.args
        made = {"remote": atoms["h"], "line": atoms["r"], "status": atoms["s"], "bytes": atoms["B"], "took": atoms["L"]}
        return json.dumps({**made, "agent": atoms["{user-agent}i"], "made": atoms["{X-Made}o"], "name": record.name})
"""
DICTIONARY = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(levelname)s %(name)s: %(message)s"},
        "access": {"()": "formatters.AccessFormatter"},
    },
    "handlers": {
        "file": {"class": "logging.FileHandler", "filename": "all.log", "formatter": "plain"},
        "console": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"},
        "access": {"class": "logging.FileHandler", "filename": "requests.log", "formatter": "access"},
    },
    "root": {"level": "INFO", "handlers": ["file"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["file", "console"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": ["access"], "propagate": False, "qualname": "gunicorn.access"},
    },
}
INI = """
[loggers]
keys=root, gunicorn.error, gunicorn.access

[handlers]
keys=file, console

[formatters]
keys=plain

[logger_root]
level=INFO
handlers=file

[logger_gunicorn.error]
level=INFO
handlers=file, console
propagate=0
qualname=gunicorn.error

[logger_gunicorn.access]
level=INFO
handlers=file
propagate=0
qualname=gunicorn.access

[handler_file]
class=FileHandler
formatter=plain
args=('all.log',)

[handler_console]
class=StreamHandler
formatter=plain
args=(sys.stderr,)

[formatter_plain]
format=%(levelname)s %(name)s: %(message)s
"""
CLASS = """
from {module} import Logger


class ItsLogger(Logger):
    def setup(self, cfg):
        super().setup(cfg)
        self.error_log.info("set up with %s", cfg.loglevel)

    def access(self, resp, req, environ, request_time):
        if req.path == "/quiet":
            return
        super().access(resp, req, environ, request_time)
        with open("seen.log", "a") as file:
            print(resp.status, req.method, environ["PATH_INFO"], dict(resp.headers).get("X-Made"), file=file)

    def atoms(self, resp, req, environ, request_time):
        return {{**super().atoms(resp, req, environ, request_time), "made.up": "atom"}}

    def now(self):
        return "[now]"

    def reopen_files(self):
        super().reopen_files()
        self.error_log.info("reopened")


def post_request(worker, req):
    worker.log.error_log.warning("%s is a %s", req.path, type(worker.log).__name__)


logger_class = {given}
"""


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def site(tmp_path):
    (tmp_path / "formatters.py").write_text(FORMATTERS)
    return tmp_path


def check(server, site):
    """What each of the configurations has to do."""
    with server.client() as client:
        client.request("GET", "/?x", [("User-Agent", "an agent")])
    eventually(lambda: "WARNING shop: served /" in lines(site / "all.log"))
    assert any(line.startswith("INFO gunicorn.error: Listening at: ") for line in lines(site / "all.log"))
    (line,) = eventually(lambda: lines(site / "requests.log"))
    made = json.loads(line)
    assert made.pop("took").startswith("0.")
    assert made == {
        "remote": "127.0.0.1", "line": "GET /?x HTTP/1.1", "status": "200", "bytes": 5, "agent": "an agent",
        "made": "made", "name": "gunicorn.access",
    }  # fmt: skip


def test_a_dictionary_configures_both_logs(serve, site):
    (site / "gunicorn.conf.py").write_text(f"logconfig_dict = {DICTIONARY!r}\n")
    check(serve(APPLICATION), site)


@with_each_class
def test_json_configures_both_logs(serve, site, worker_class):
    (site / "logging.json").write_text(json.dumps(DICTIONARY))
    check(serve(APPLICATION, "--log-config-json", "logging.json"), site)


def test_a_file_configures_both_logs(serve, site):
    (site / "logging.ini").write_text(INI)
    server = serve(APPLICATION, "--log-config", "logging.ini", "--access-logformat", "%(r)s %(s)s")
    server.get("/?x")
    eventually(lambda: "INFO gunicorn.access: GET /?x HTTP/1.1 200" in lines(site / "all.log"))


def test_a_reload_with_a_configuration_that_is_wrong_changes_nothing(serve, site):
    (site / "logging.json").write_text(json.dumps(DICTIONARY))
    server = serve(APPLICATION, "--log-config-json", "logging.json")
    handlers = {**DICTIONARY["handlers"], "file": {"class": "nothing.There"}}
    (site / "logging.json").write_text(json.dumps({**DICTIONARY, "handlers": handlers}))
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "The reload is refused and nothing has changed: logconfig_json: " in server.log())
    (site / "requests.log").unlink()
    server.get()
    assert server.is_running()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--log-config", "nothing.ini"], "--log-config: logconfig is 'nothing.ini': there is no"),
        (["--log-config", "application_0.py"], "logconfig: MissingSectionHeaderError: File contains no "),
        (["--log-config-json", "nothing.json"], "--log-config-json: logconfig_json is 'nothing.json': there"),
        (["--log-config-json", "application_0.py"], "logconfig_json: JSONDecodeError: "),
        (["--logconfig-dict", '{"version": 2}'], "logconfig_dict: ValueError: Unsupported version: 2"),
        (["--logconfig-dict", '{"handlers": {"a": {"class": "no.Handler"}}}'], "logconfig_dict: ValueError: Unable to"),
        (["--logconfig-dict", "{"], "which is no JSON"),
        (["--logger-class", "nothing.There"], "logger_class is 'nothing.There', which cannot be imported: No module"),
        (["--logger-class", "json.dumps"], "logger_class is 'json.dumps', which is no class"),
    ],
)
def test_what_cannot_be_had_is_one_line_of_a_check(start, arguments, said):
    assert_one_line(start(APPLICATION, *arguments, "--check-config"), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--log-config", "application_0.py"], "logconfig: "),
        (["--logger-class", "json.JSONEncoder"], "logger_class: TypeError: "),
    ],
)
def test_what_cannot_be_had_is_one_line_of_a_start(start, arguments, said):
    assert_one_line(start(APPLICATION, *arguments), said)


def assert_one_line(server, said):
    assert server.wait() == 1
    (line,) = server.log().splitlines()
    assert said in line


def test_a_check_neither_makes_a_log_nor_empties_one(start, site):
    (site / "live.log").write_text("precious")
    (site / "its.conf.py").write_text(
        "import pyserver.glogging\n"
        "class Logger(pyserver.glogging.Logger):\n    def __init__(self, cfg): open('made.log', 'w')\n"
        "import os\nif 'OWN' in os.environ: logger_class = Logger\n"
        "accesslog, errorlog, pidfile = 'access.log', 'error.log', 'its.pid'\n"
        "logconfig_dict = {'handlers': {\n"
        "'file': {'class': 'logging.FileHandler', 'filename': 'live.log', 'mode': 'w'},\n"
        "'console': {'class': 'logging.StreamHandler'}, 'error_console': {'class': 'logging.StreamHandler'}}}\n"
    )
    for env in ({}, {"OWN": "1"}):
        assert start(APPLICATION, "-c", "its.conf.py", "--check-config", env=env).wait() == 0
    assert (site / "live.log").read_text() == "precious"
    assert not {"access.log", "error.log", "its.pid", "made.log"} & {path.name for path in site.iterdir()}


@pytest.mark.parametrize("module", ["gunicorn.glogging", "pyserver.glogging"])
@pytest.mark.parametrize("given", ["ItsLogger", '"its_logger.ItsLogger"'])
def test_a_class_does_all_logging(serve, site, module, given):
    pytest.importorskip(module)
    name = "its_logger.py" if given.startswith('"') else "its.conf.py"
    text = CLASS.format(module=module, given=given)
    code, _, setting = text.partition("logger_class")
    (site / name).write_text(code)
    with (site / "its.conf.py").open("a") as file:
        hook = "" if name == "its.conf.py" else "from its_logger import post_request\n"
        file.write(f"{hook}logger_class{setting}")
    server = serve(
        APPLICATION, "-c", "its.conf.py", "--access-logfile", "requests.log",
        "--access-logformat", "%(t)s %(made.up)s %(r)s",
    )  # fmt: skip
    server.get("/quiet")
    server.get("/?x")
    eventually(lambda: lines(site / "requests.log") == ["[now] atom GET /?x HTTP/1.1"])
    eventually(lambda: lines(site / "seen.log") == ["200 OK GET / made"])
    eventually(lambda: "/quiet is a ItsLogger" in server.log())
    assert "set up with info" in server.log()
    (site / "requests.log").rename(site / "old.log")
    server.send_signal(signal.SIGUSR1)
    eventually(lambda: (site / "requests.log").exists() and server.log().count("reopened") == 2)
    server.get("/?y")
    eventually(lambda: lines(site / "requests.log") == ["[now] atom GET /?y HTTP/1.1"])


def test_an_asgi_application_has_its_requests_logged(serve, site):
    (site / "logging.json").write_text(json.dumps(DICTIONARY))
    server = serve(
        """
        async def application(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x-made", b"made")]})
            await send({"type": "http.response.body", "body": b"hello"})
        """,
        *("-k", "asgi", "--lifespan", "off", "--log-config-json", "logging.json"),
    )
    with server.client() as client:
        client.request("GET", "/?x", [("User-Agent", "an agent")])
    (line,) = eventually(lambda: lines(site / "requests.log"))
    made = json.loads(line)
    assert (made["line"], made["agent"], made["made"]) == ("GET /?x HTTP/1.1", "an agent", "made")


def test_a_logger_that_raises_stops_nothing(serve, site):
    (site / "its.conf.py").write_text(
        "from pyserver.glogging import Logger\n"
        "class Failing(Logger):\n"
        "    def access(self, *arguments):\n"
        "        raise OSError('full')\n"
        "logger_class = Failing\n"
    )
    server = serve(APPLICATION, "-c", "its.conf.py")
    assert [server.get().status for _ in range(3)] == [200] * 3
    eventually(lambda: "The logger_class has failed" in server.log())
    assert server.log().count("The logger_class has failed") == 1


def test_a_logger_that_exits_stops_nothing(serve, site):
    (site / "its.conf.py").write_text(
        "from pyserver.glogging import Logger\n"
        "class Exiting(Logger):\n"
        "    def access(self, resp, req, environ, request_time):\n"
        "        if req.path == '/exit':\n"
        "            raise SystemExit(4)\n"
        "        super().access(resp, req, environ, request_time)\n"
        "logger_class = Exiting\n"
    )
    server = serve(APPLICATION, "-c", "its.conf.py", "--access-logfile", "access.log", "--access-logformat", "%(U)s")
    assert [server.get(path).status for path in ("/exit", "/exit", "/after")] == [200] * 3
    eventually(lambda: lines(site / "access.log") == ["/after"])
    assert server.log().count("The logger_class has failed") == 1


def test_without_any_of_them_logging_is_not_imported(serve):
    server = serve(
        """
        import sys
        there = "logging" in sys.modules

        def application(environ, start_response):
            start_response("200 OK", [])
            return [str(there).encode()]
        """,
        *("--log-syslog", "--statsd-host", "127.0.0.1:9", "--access-logfile", "-", "--access-log-format", "json"),
    )
    assert server.get().content == b"False"

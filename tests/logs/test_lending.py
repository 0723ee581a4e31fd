"""The loggers of the standard library that applications and hooks take for gunicorn's, where there is no logger."""

import re
import signal

from support import eventually

# As it is found in many applications of Flask, which has a logger of its own.
APPLICATION = """
    import logging, os

    log, its = logging.getLogger("shop"), logging.getLogger("gunicorn.error")
    log.handlers = its.handlers
    log.setLevel(its.level)
    log.info("is %s", "imported")
    log.debug("too much")

    def application(environ, start_response):
        log.warning("serves")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [os.environ["SERVER_SOFTWARE"].encode()]
"""
LINE = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[%s\] %s$"


def test_an_application_logs_by_the_handlers_of_gunicorn(serve):
    server = serve(APPLICATION)
    assert b"gunicorn" in server.get().content
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in server.log())
    server.get()
    assert len(re.findall(LINE % ("INFO", "is imported"), server.log(), re.M)) == 2
    assert len(re.findall(LINE % ("WARNING", "serves"), server.log(), re.M)) == 2
    assert "too much" not in server.log()


def test_hooks_log_by_the_logger_of_gunicorn(serve, tmp_path):
    (tmp_path / "hooked.conf.py").write_text(
        "import logging\n"
        "def on_starting(server): logging.getLogger('gunicorn.error').info('starts')\n"
        "def post_fork(server, worker): worker.log.error_log.info('level %s', worker.log.loglevel)\n"
    )
    server = serve(APPLICATION, "-c", "hooked.conf.py")
    server.get()
    assert re.search(LINE % ("INFO", "starts"), server.log(), re.M)
    assert re.search(LINE % ("INFO", "level 20"), server.log(), re.M)


def test_filters_of_the_access_log_are_named_where_they_have_no_effect(serve, tmp_path):
    (tmp_path / "hooked.conf.py").write_text(
        "def when_ready(server): server.log.access_log.addFilter(lambda record: False)\n"
    )
    arguments = ["-c", "hooked.conf.py", "--access-logfile", "access.log"]
    server = serve(APPLICATION, *arguments)
    server.get()
    eventually(lambda: "The logger gunicorn.access was given filters" in server.log())
    heeding = serve(APPLICATION, *arguments, "--logger-class", "pyserver.glogging.Logger")
    heeding.get("/unseen")
    assert heeding.stop() == 0
    assert "was given filters" not in heeding.log()
    assert "/unseen" not in (tmp_path / "access.log").read_text()

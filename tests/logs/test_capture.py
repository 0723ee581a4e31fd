"""What an application prints, and where it goes with capture_output."""

import signal

from support import eventually

APPLICATION = """
    import os, sys

    def application(environ, start_response):
        print("printed", environ["QUERY_STRING"], flush=True)
        os.write(2, b"written to standard error\\n")
        start_response("200 OK", [])
        return []
"""


def test_what_is_printed_goes_to_the_errorlog_and_follows_it(start, tmp_path):
    (tmp_path / "application.py").write_text("\n".join(line[4:] for line in APPLICATION.splitlines()))
    server = start("application:application", "--capture-output", "--log-file", "error.log", "-b", "unix:socket")
    log = tmp_path / "error.log"
    eventually(lambda: log.exists() and "Booting worker" in log.read_text())
    server.addresses = [str(tmp_path / "socket")]
    server.get("/?1")
    eventually(lambda: "printed 1\nwritten to standard error\n" in log.read_text())
    log.rename(tmp_path / "old.log")
    server.send_signal(signal.SIGUSR1)
    eventually(log.exists)
    eventually(lambda: server.get("/?2") and "printed 2" in log.read_text())
    assert "printed" not in server.log()


def test_standard_error_as_the_log_is_left_as_it_is(serve):
    server = serve(APPLICATION, "--capture-output")
    server.get("/?1")
    eventually(lambda: "printed 1\nwritten to standard error\n" in server.log())

"""Whether the pyserver that is installed serves; with the standard library alone, for wheels that were just built.

`python tests/smoke.py` exits with 0 when a WSGI application was served, and on Linux one of ASGI, too.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

APPLICATIONS = '''
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello from ", environ["SERVER_PROTOCOL"].encode()]

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"Hello from HTTP/" + scope["http_version"].encode()})
'''
SECONDS = 60.0


def serve_once(directory: str, name: str) -> None:
    """Start a server, have it answer one request, and stop it; raises when one of these does not happen."""
    command = [sys.executable, "-m", "pyserver", "--workers", "2", "--bind", "127.0.0.1:0", f"applications:{name}"]
    # A server that is installed is found without the directory that this file is in.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = threading.Timer(SECONDS, process.kill)
    deadline.start()
    log = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            if found := re.search(r"Listening at: (http://\S+)", line):
                with urllib.request.urlopen(found[1], timeout=SECONDS) as response:
                    content = response.read()
                assert content == b"Hello from HTTP/1.1", content
                process.send_signal(signal.SIGTERM)
        assert process.wait() == 0, f"the server exited with {process.returncode}"
    except BaseException:
        process.kill()
        sys.stderr.writelines(log)
        raise
    finally:
        deadline.cancel()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "applications.py").write_text(APPLICATIONS, "utf-8")
        for name in ["application", "app"] if sys.platform == "linux" else ["application"]:
            serve_once(directory, name)
            print(f"served {name} with Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()

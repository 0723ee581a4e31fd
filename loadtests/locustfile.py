"""How the demo application behaves under the load of a small site: pages, uploads, slow answers, errors.

    locust -f loadtests/locustfile.py --headless --run-time 20s

Each answer is checked, so the exit code is 1 when a single one was wrong.
"""

import os

from locust import between, events, task
from locust.contrib.fasthttp import FastHttpUser

STREAM = b"".join(b"line %d of 10\n" % number for number in range(1, 11))


@events.init_command_line_parser.add_listener
def _(parser):
    # Enough to keep two workers busy; --users and --spawn-rate change it.
    parser.set_defaults(users=20, spawn_rate=20)


class Visitor(FastHttpUser):
    """Reads mostly, sends something now and then, and sometimes asks for what is slow or broken."""

    host = "http://127.0.0.1:8000"
    wait_time = between(0.05, 0.2)

    @task(40)
    def page(self):
        self.expect("/", 200, contains=b"pyserver is running")

    @task(40)
    def health(self):
        self.expect("/health", 200, content=b"ok\n")

    @task(20)
    def upload(self):
        # Small ones stay in memory, and the largest are more than the server keeps there.
        content = os.urandom(1 << (10 + os.urandom(1)[0] % 11))
        self.expect("/echo", 200, content=content, method="POST", data=content)

    @task(2)
    def slow(self):
        self.expect("/slow?seconds=0.05", 200, contains=b"0.05 s")

    @task(1)
    def stream(self):
        self.expect("/stream", 200, content=STREAM)

    @task(1)
    def error(self):
        self.expect("/error", 500)

    @task(1)
    def missing(self):
        self.expect("/missing", 404)

    def expect(self, target, status, content=None, contains=b"", method="GET", data=None):
        """Send one request and count it as failed unless status and content are what they should be."""
        with self.client.request(method, target, data=data, name=f"{method} {target}", catch_response=True) as response:
            received = response.content or b""
            if response.status_code != status:
                response.failure(f"status {response.status_code} and not {status}")
            elif (content is not None and received != content) or contains not in received:
                response.failure(f"content is wrong: {len(received)} bytes, {received[:60]!r}")
            else:
                response.success()

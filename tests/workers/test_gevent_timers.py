"""When short waits end in a gevent worker."""

import importlib.util

import pytest
from support import eventually

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")


def test_a_wait_can_end_within_a_millisecond(serve):
    server = serve(
        """
        import time

        def application(environ, start_response):
            began_ns = time.monotonic_ns()
            time.sleep(0.0002)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(time.monotonic_ns() - began_ns).encode()]
        """,
        "-k", "gevent",
    )  # fmt: skip
    # On a busy machine it need not; by libev alone it never does.
    eventually(lambda: 200_000 <= int(server.get().content) < 1_000_000)

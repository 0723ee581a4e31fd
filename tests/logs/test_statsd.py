"""What a statsd server is told: gunicorn's metrics, several in a datagram, and never at the cost of a request."""

import re
import socket

import pytest
from classes import with_each_class
from support import eventually

from pyserver._statsd import Datagrams, Statsd
from pyserver.errors import ConfigError
from pyserver.settings.sources import load_settings

APPLICATION = """
    def application(environ, start_response):
        status = environ["QUERY_STRING"] or "200 OK"
        start_response(status.replace("+", " "), [])
        return [b"hello"]
"""


class Receiver:
    """A statsd server, or rather what it hears."""

    def __init__(self, listener):
        self._listener = listener
        self._listener.setblocking(False)
        self.datagrams = []

    def metrics(self):
        """All lines until now."""
        try:
            while True:
                self.datagrams.append(self._listener.recv(65536).decode())
        except BlockingIOError:
            return [line for datagram in self.datagrams for line in datagram.split("\n")]

    def has(self, line):
        return line in self.metrics()

    def total(self, name):
        """The sum of a counter."""
        found = [re.fullmatch(rf"{re.escape(name)}:(\d+)\|c\|@1\.0", line) for line in self.metrics()]
        return sum(int(one[1]) for one in found if one)


@pytest.fixture
def receiver():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        yield Receiver(listener)


@pytest.fixture
def port(receiver):
    return receiver._listener.getsockname()[1]


@with_each_class
def test_requests_are_counted_and_timed(serve, receiver, port):
    server = serve(APPLICATION, "--statsd-host", f"127.0.0.1:{port}")
    with server.client() as client:
        for _ in range(5):
            client.request("GET")
        client.request("GET", "/?404+Not+Found")
    eventually(lambda: receiver.total("gunicorn.requests") == 6)
    assert receiver.total("gunicorn.request.status.200") == 5
    assert receiver.total("gunicorn.request.status.404") == 1
    times = [line for line in receiver.metrics() if line.startswith("gunicorn.request.duration:")]
    assert len(times) == 6
    assert all(re.fullmatch(r"gunicorn\.request\.duration:\d+\.\d{3}\|ms", line) for line in times)


def test_workers_errors_and_the_backlog_are_told_with_prefix_and_tags(serve, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "statsd"))
        receiver = Receiver(listener)
        (tmp_path / "its.conf.py").write_text(
            "def post_worker_init(worker):\n"
            "    worker.log.info('', extra={'metric': 'its.own', 'value': 3, 'mtype': 'histogram'})\n"
            "    worker.log.error('trouble')\n"
        )
        server = serve(
            APPLICATION, "-w", "2", "-c", "its.conf.py", "--statsd-host", f"unix://{tmp_path}/statsd",
            "--statsd-prefix", "shop", "--dogstatsd-tags", "env:test,a:b", "--enable-backlog-metric",
        )  # fmt: skip
        server.get()
        tags = "|#env:test,a:b"
        eventually(lambda: receiver.has(f"shop.gunicorn.workers:2|g{tags}"))
        eventually(lambda: receiver.has(f"shop.gunicorn.backlog:0|h{tags}"))
        eventually(lambda: receiver.has(f"shop.its.own:3|h{tags}"))
        eventually(lambda: receiver.has(f"shop.gunicorn.log.error:1|c|@1.0{tags}"))
        eventually(lambda: receiver.has(f"shop.gunicorn.request.status.200:1|c|@1.0{tags}"))


@pytest.mark.parametrize("logger", [[], ["--logger-class", "pyserver.glogging.Logger"]], ids=["own", "logger"])
def test_hooks_tell_by_the_log(serve, receiver, port, tmp_path, logger):
    (tmp_path / "its.conf.py").write_text(
        "def post_worker_init(worker):\n"
        "    worker.log.increment('more', 2, 1.0)\n"
        "    worker.log.decrement('fewer', 2)\n"
        "    worker.log.gauge('is', 3)\n"
        "    worker.log.histogram('one', 4)\n"
        "    worker.log.timer('took', 5)\n"
    )
    serve(APPLICATION, "-c", "its.conf.py", "--statsd-host", f"127.0.0.1:{port}", *logger).get()
    for line in ("more:2|c|@1.0", "fewer:-2|c|@1.0", "is:3|g", "one:4|h", "took:5|ms"):
        eventually(lambda: receiver.has(line))  # noqa: B023 - it is called at once.


def test_nobody_who_listens_harms_no_request(serve, tmp_path):
    # A format that nothing is written in does not matter.
    server = serve(APPLICATION, "--statsd-host", f"unix://{tmp_path}/nobody", "--access-logformat", "%(zz)s")
    assert server.get().status == 200


def test_a_name_that_is_not_known_is_one_warning(serve):
    server = serve(APPLICATION, "--statsd-host", "nobody.invalid:8125")
    assert server.get().status == 200
    assert server.log().count("there will be no metrics") == 1


@pytest.mark.parametrize("address", ["127.0.0.1:none", "127.0.0.1:99999", "[::1]x"])
def test_an_address_that_is_none_is_refused(address, tmp_path):
    with pytest.raises(ConfigError, match="statsd_host is"):
        load_settings(["--statsd-host", address], {}, str(tmp_path))


def test_a_metric_of_no_kind_is_dropped(receiver, port):
    statsd = Statsd(Datagrams("127.0.0.1", port))
    statsd.tell("a", 1, "none")
    statsd.gauge("b", 2)
    eventually(lambda: receiver.metrics() == ["b:2|g"])

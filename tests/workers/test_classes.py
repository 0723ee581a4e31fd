"""Whether what the tests know of worker classes is what there is."""

from classes import CLASSES
from classes import each_class as worker_class

from pyserver.workers import WORKERS

__all__ = ["worker_class"]


def test_every_built_in_class_that_serves_by_the_engine_has_a_row():
    assert CLASSES.keys() == {name for name, kind in WORKERS.items() if kind.interfaces == ("wsgi",)}


def test_a_server_has_the_class_that_a_test_asks_for(serve, worker_class):
    server = serve("def application(environ, start_response): pass\n")
    assert f"Using worker: {worker_class.name}\n" in server.log()

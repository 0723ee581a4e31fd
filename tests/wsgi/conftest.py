"""Fixtures of the tests in this directory, which hold for every worker class."""

from classes import each_class as worker_class
from sharing import server, serving, share

__all__ = ["server", "serving", "share", "worker_class"]

"""Fixtures of the tests in this directory, which hold for every worker class."""

import pytest
from classes import each_class as worker_class
from sharing import server, serving, share
from support import eventually

__all__ = ["logging", "server", "serving", "share", "worker_class"]


class AccessFile:
    """An access log, as tests read it."""

    def __init__(self, path):
        self.path = path

    def lines(self):
        """The lines written until now."""
        return self.path.read_text("utf-8").splitlines()

    def line_with(self, text):
        """The only line with that text, as soon as it is there."""
        lines = eventually(lambda: [line for line in self.lines() if text in line])
        assert len(lines) == 1, lines
        return lines[0]


@pytest.fixture
def logging(serving):
    """Serve with an access log: `logging(format, *arguments)` gives the server and the log."""

    def served(line, *arguments):
        name = f"{abs(hash((line, *arguments)))}.log"
        server = serving("--access-logfile", name, "--access-logformat", line, *arguments)
        return server, AccessFile(server.directory / name)

    return served
